//! CVE-2023-44487: calls that are reset in the same breath in which they are sent. Written frame by frame, because an HTTP/2
//! library does not send what it knows to be reset.

use std::net::SocketAddr;

use e2e::{Alone, bare_tls};
use pullpass_runtime::config::TlsConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Bystander;

const RESETS: u32 = 20_000;
/// Calls in one write.
const BREATH: u32 = 50;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const END_STREAM_END_HEADERS: u8 = 5;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 0xb];

#[tokio::test]
async fn calls_that_are_reset_at_once_end_their_connection_and_hinder_nobody() {
    let alone = Alone::start("resets", &[]).await;
    let bystander = Bystander::new(&alone);
    let (caller, address) = (alone.caller("/platform/resetting"), alone.address());
    let attack = tokio::spawn(async move {
        let (mut sent, mut most, mut connections) = (0, 0, 0);
        while sent < RESETS {
            let by_this_one = reset_until_told_to_calm_down(&caller, address).await;
            (sent, most, connections) = (sent + by_this_one, most.max(by_this_one), connections + 1);
        }
        (sent, most, connections)
    });
    bystander.calls("beside calls that are reset", 50).await;
    let (sent, most, connections) = attack.await.unwrap();
    println!("{sent} calls were reset by {connections} connections, {most} at most by one");
    bystander.memory_is_bounded("resets");
    bystander.calls("after calls that were reset", 20).await;
}

/// How many calls could be sent by one connection before the server ended it for that reason.
async fn reset_until_told_to_calm_down(caller: &TlsConfig, address: SocketAddr) -> u32 {
    let io = bare_tls::connect(caller, address).await.expect("a connection");
    let (mut reader, mut writer) = tokio::io::split(io);
    let told = tokio::spawn(async move {
        loop {
            let mut head = [0; 9];
            reader.read_exact(&mut head).await.expect("the server says why it ends the connection");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            reader.read_exact(&mut payload).await.expect("a whole frame");
            if head[3] == GOAWAY {
                return payload[4..8].to_vec();
            }
        }
    });
    writer
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat())
        .await
        .unwrap();
    let mut sent = 0;
    while sent < RESETS && !told.is_finished() {
        let breath: Vec<u8> = (sent..sent + BREATH).flat_map(|number| reset_call(2 * number + 1)).collect();
        if writer.write_all(&breath).await.is_err() {
            break;
        }
        sent += BREATH;
        tokio::task::yield_now().await;
    }
    assert_eq!(told.await.expect("the server ended the connection"), ENHANCE_YOUR_CALM, "after {sent} calls");
    sent
}

fn reset_call(stream: u32) -> Vec<u8> {
    [frame(HEADERS, END_STREAM_END_HEADERS, stream, &headers()), frame(RST_STREAM, 0, stream, &CANCEL)]
        .concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// In HPACK: `:method: POST` and `:scheme: https` from the static table, the rest as literals with names from there.
fn headers() -> Vec<u8> {
    const PATH: &str = "/pullpass.credential.v1.CredentialStore/WatchCredentials";
    let literal =
        |name: &[u8], value: &str| [name, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let (authority, path, content_type) = (&[0x01][..], &[0x04][..], &[0x0f, 0x10][..]);
    [
        vec![0x83, 0x87],
        literal(authority, "peer"),
        literal(path, PATH),
        literal(content_type, "application/grpc"),
    ]
    .concat()
}
