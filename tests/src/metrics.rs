//! What a service's metrics say.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The whole text of a metrics endpoint.
pub async fn text(address: SocketAddr) -> String {
    let mut tcp = TcpStream::connect(address).await.expect("metrics are served");
    tcp.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("a request");
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.expect("an answer");
    text
}

/// The value of a metric in such a text, named with its labels.
pub fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
