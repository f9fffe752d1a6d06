//! On PostgreSQL: material is sealed before it is bound to a statement, so that neither the server's files nor the most
//! talkative of its logs have it, whatever fails.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    LoneStore,
    canary::{Scanner, Search},
};
use pullpass_api::credential::v1::DestroyCredentialVersionRequest;
use pullpass_test_database::Server;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{CANARIES, CREATED, DOCKERCFG, FILE, IMPORTED, LOGIN, REFUSED, ROTATED, said::Said};

/// All statements with all that is bound to them, whether they succeed or not.
const TALKATIVE: [&str; 6] = [
    "log_statement=all",
    "log_min_duration_statement=0",
    "log_parameter_max_length=-1",
    "log_parameter_max_length_on_error=-1",
    "log_error_verbosity=verbose",
    "log_min_messages=debug1",
];
const DATABASE: &str = "credential_store";
const KINDS: [&str; 4] = [TABLES, WAL, LOG, OTHERS];
const TABLES: &str = "tables and indexes of PostgreSQL";
const WAL: &str = "write-ahead log of PostgreSQL";
const LOG: &str = "log of PostgreSQL";
const OTHERS: &str = "other files of PostgreSQL";

#[tokio::test]
async fn passwords_are_sealed_before_postgresql_gets_them() {
    let server = Server::start_with(&TALKATIVE);
    let url = server.create(DATABASE);
    let store = LoneStore::start("canaries-postgres", |_, config| {
        config["database"]["url"] = url.clone().into();
        config["server"]["telemetry"]["log"] = "trace".into();
    });
    let store = store.await.expect("credential-store starts");
    let mut said = Said::default();
    accepted(&store, &mut said).await;
    refused_by_the_database(&store, &mut said, &server).await;

    let scanner = Scanner::new(CANARIES);
    let found = search(&scanner, &store, &said, &server);
    println!("searched\n{}", found.summary());
    found.found_nothing();

    // The positive controls: what is bound is in the log, and canaries are seen where they are.
    let sealed = server.ask(DATABASE, "SELECT encode(ciphertext, 'hex') FROM credential_versions LIMIT 1");
    let log = log(&server);
    assert!(sealed.len() > 100 && log.contains(&format!("'\\x{sealed}'")), "{sealed} is not told as bound");
    plant(&url, &server).await;
    let found = search(&scanner, &store, &said, &server);
    for kind in KINDS {
        assert!(!found.hits(kind).is_empty(), "what was planted in the {kind} was not found");
    }
}

/// Everything that can be done with material, each successfully.
async fn accepted(store: &LoneStore, said: &mut Said) {
    let login = ["--server", "quay.io", "--username", "robot"];
    let stdin = [&login[..], &["--password-stdin"]].concat();
    let config = json!({"auths": {"quay.io": {"auth": BASE64_STANDARD.encode(format!("robot:{IMPORTED}"))}}});
    let old_style = json!({"quay.io": {"username": "robot", "password": DOCKERCFG}});
    let file = store.folder().join("password");
    std::fs::write(&file, FILE).unwrap();
    let by_file = [&login[..], &["--password-file", file.to_str().unwrap()]].concat();
    let from_stdin = ["--from-file", "-"];
    for (input, command, more) in [
        (CREATED, ["create", "canary"], &stdin[..]),
        (&config.to_string(), ["import", "imported"], &from_stdin),
        (&old_style.to_string(), ["import", "old-style"], &from_stdin),
        (ROTATED, ["rotate", "canary"], &stdin),
        ("", ["rotate", "imported"], &by_file),
        ("", ["delete", "old-style"], &[]),
    ] {
        let arguments = [&["credential"], &command[..], more].concat();
        let code = said.cli(&store.pullpass, input, &arguments).await;
        assert_eq!(code, 0, "{command:?}: {:?}", said.answers);
    }
    let caller = store.caller();
    caller.create("called", LOGIN).await.expect("it is created");
    assert_eq!(caller.fetch("canary").await.expect("it opens"), ROTATED);
    let destroy = DestroyCredentialVersionRequest { name: "credentials/canary".into(), version: 1 };
    caller.platform().destroy_credential_version(destroy).await.expect("it is destroyed");
}

/// A statement that fails is what a database tells most about: the row that it was to write, and all that was bound.
async fn refused_by_the_database(store: &LoneStore, said: &mut Said, server: &Server) {
    server.ask(DATABASE, "ALTER TABLE credential_versions ADD CONSTRAINT few CHECK (version < 3) NOT VALID");
    let refused = store.caller().rotate("canary", REFUSED).await.expect_err("the database refuses it");
    assert_eq!(refused.code(), tonic::Code::Internal, "{refused:?}");
    said.status(&refused);
    let log = log(server);
    let told = ["violates check constraint", "Failing row contains", "unnamed portal with parameters"];
    for part in told {
        assert!(log.contains(part), "PostgreSQL's log does not tell {part:?}");
    }
}

fn log(server: &Server) -> String {
    String::from_utf8_lossy(&std::fs::read(server.folder().join("log")).expect("its log")).into_owned()
}

/// Everything that was written so far, down to the files.
fn search<'a>(scanner: &'a Scanner, store: &LoneStore, said: &Said, server: &Server) -> Search<'a> {
    server.ask(DATABASE, "CHECKPOINT");
    let folder = server.folder();
    let tables = ["data/base", "data/global"].map(|name| folder.join(name));
    let (wal, log) = (folder.join("data/pg_wal"), folder.join("log"));
    let is_table = |file: &Path| tables.iter().any(|folder| file.starts_with(folder));
    let mut search = Search::new(scanner);
    search.files(TABLES, folder, is_table);
    search.files(WAL, folder, |file| file.starts_with(&wal));
    search.files(LOG, folder, |file| file == log);
    search.files(OTHERS, folder, |file| !is_table(file) && !file.starts_with(&wal) && file != log);
    search.folder("logs, configuration and keys of credential-store", store.pullpass.state().dir());
    search.bytes("answers", "what the command and the errors said", said.answers.join("\n").as_bytes());
    search
}

/// As a service would that binds a password to a statement.
async fn plant(url: &str, server: &Server) {
    let mut database = PgConnection::connect(url).await.expect("it opens");
    sqlx::query("CREATE TABLE planted (password TEXT)").execute(&mut database).await.expect("a table");
    let insert = sqlx::query("INSERT INTO planted VALUES ($1)").bind(CREATED);
    insert.execute(&mut database).await.expect("a row");
    database.close().await.expect("it closes");
    std::fs::write(server.folder().join("data/planted"), CREATED).expect("a file");
}
