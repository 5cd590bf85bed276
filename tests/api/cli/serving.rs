use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::task::block_in_place;

use super::process::{Served, Shell};
use crate::support::{
    ADMIN_EMAIL, ADMIN_PASSWORD, Answer, Call, Storage, Store, Truth, client, eventually, tcp,
};

async fn get(served: &Served, path: &str) -> Answer {
    Call::new(client().get(served.url(path))).await
}

async fn login(served: &Served, password: &str) -> Answer {
    let form = [("username", ADMIN_EMAIL), ("password", password)];
    Call::new(client().post(served.url("/auth/login")))
        .form(&form)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_command_it_serves_on_what_comes_by_itself() {
    let shell = Shell::new().with("ALACENA__SERVER__PORT", "0");
    let mut served = block_in_place(|| shell.serve(&[]));
    assert!(served.address.ip().is_loopback());
    get(&served, "/health/ready").await.expect(200);
    login(&served, ADMIN_PASSWORD).await.expect(200);
    assert!(shell.folder().join("data/alacena.db").exists());
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));
    // What was written is still there; the admin is not made twice.
    let mut again = block_in_place(|| shell.serve(&["serve"]));
    login(&again, ADMIN_PASSWORD).await.expect(200);
    again.signal(Signal::SIGINT);
    assert_eq!(again.ended().await.0, Some(0));
}

/// How many statements have been sent to the database.
async fn queries(served: &Served) -> u64 {
    let metrics = get(served, "/metrics").await.expect(200);
    let name = "alacena_database_queries_total ";
    let line = metrics
        .body
        .lines()
        .find_map(|line| line.strip_prefix(name));
    let count = line.and_then(|count| count.parse().ok());
    count.expect("statements are counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finishes_the_request_under_way_before_it_ends() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let store = block_in_place(|| Store::fresh(storage));
        // A password that takes about a second to check.
        let shell = Shell::on(&store.url())
            .with("ALACENA__AUTH__ARGON2_MEMORY", "64MiB")
            .with("ALACENA__AUTH__ARGON2_ITERATIONS", "8");
        let mut served = block_in_place(|| shell.serve(&["serve"]));
        let body = format!("username={ADMIN_EMAIL}&password={ADMIN_PASSWORD}");
        let request = format!(
            "POST /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let before = queries(&served).await;
        let mut stream = tcp::connect(served.address).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
            .await
            .expect("the request is sent");
        // Under way: the account has been looked up, the password is being checked.
        eventually("the login is under way", async || {
            queries(&served).await > before
        })
        .await;
        served.signal(Signal::SIGTERM);
        let answer = tcp::read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("access_token"), "{answer}");
        assert_eq!(served.ended().await.0, Some(0));
        let refused = tokio::net::TcpStream::connect(served.address).await;
        assert!(refused.is_err(), "it takes no more connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_who_keep_their_connections_do_not_keep_it_from_ending() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let shell = Shell::on(&store.url()).with("ALACENA__SERVER__SHUTDOWN_TIMEOUT", "2s");
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    let client = client();
    let live = Call::new(client.get(served.url("/health/live"))).await;
    live.expect(200);
    served.signal(Signal::SIGTERM);
    let (code, took) = served.ended().await;
    println!("ended {took:?} after SIGTERM, with an idle connection open");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(6), "{took:?}");
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthcheck_asks_the_running_instance() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let shell = Shell::on(&store.url());
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    let port = served.address.port().to_string();
    let checker = Shell::on(&store.url()).with("ALACENA__SERVER__PORT", &port);
    let healthy = block_in_place(|| checker.run(&["healthcheck"])).expect(0);
    assert!(healthy.out.contains("ready"), "{}", healthy.out);
    let live = block_in_place(|| checker.run(&["healthcheck", "--live"])).expect(0);
    assert!(live.out.contains("live"), "{}", live.out);
    let mut truth = Truth::at(&store.url());
    truth.execute("ALTER TABLE products RENAME TO elsewhere");
    let damaged = block_in_place(|| checker.run(&["healthcheck"])).expect(1);
    assert!(damaged.err.contains("products"), "{}", damaged.err);
    block_in_place(|| checker.run(&["healthcheck", "--live"])).expect(0);
    truth.execute("ALTER TABLE elsewhere RENAME TO products");
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));
    block_in_place(|| checker.run(&["healthcheck"])).expect(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_can_be_reset_from_the_command_line() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let store = block_in_place(|| Store::fresh(storage));
        let shell = Shell::on(&store.url());
        let served = block_in_place(|| shell.serve(&["serve"]));
        let old = login(&served, ADMIN_PASSWORD).await.expect(200).json();
        let reset = ["admin", "reset-password", "ADMIN@example.com"];
        let done = block_in_place(|| shell.run_with(&reset, "a new password\r\n"));
        let done = done.expect(0);
        assert!(!done.out.contains("a new password"), "{}", done.out);
        login(&served, ADMIN_PASSWORD).await.expect(401);
        login(&served, "a new password").await.expect(200);
        drop(served);
        // The admin of the configuration does not take their password back.
        let served = block_in_place(|| shell.serve(&["serve"]));
        login(&served, ADMIN_PASSWORD).await.expect(401);
        let me = Call::new(client().get(served.url("/auth/me")));
        let token = old["access_token"].as_str().unwrap_or_default();
        me.by(token).await.problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_document_is_the_printed_one() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let shell = Shell::on(&store.url());
    let served = block_in_place(|| shell.serve(&["serve"]));
    let printed = block_in_place(|| shell.run(&["openapi"])).expect(0).out;
    let printed: Value = serde_json::from_str(&printed).expect("it is JSON");
    assert_eq!(
        get(&served, "/openapi.json").await.expect(200).json(),
        printed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_a_failure_that_names_the_key() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let served = block_in_place(|| Shell::on(&store.url()).serve(&["serve"]));
    let port = served.address.port().to_string();
    let second = Shell::on(&store.url()).with("ALACENA__SERVER__PORT", &port);
    let done = block_in_place(|| second.run(&["serve"])).expect(1);
    assert!(done.err.contains("server.port"), "{}", done.err);
}

/// What was mapped into memory and is cut off the file ends the process that reads it (SIGBUS).
#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_that_is_overwritten_does_not_end_the_process() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let shell = Shell::on(&store.url()).with("ALACENA__CACHE__BACKEND", "off");
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    let form = [("username", ADMIN_EMAIL), ("password", ADMIN_PASSWORD)];
    let login = async || {
        let login = Call::new(client().post(served.url("/auth/login"))).form(&form);
        login.await
    };
    login().await.expect(200);
    let mut truth = Truth::at(&store.url());
    truth.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO products (name, price_cents, stock, is_active, created_at, updated_at) \
         SELECT 'Many', 1, 1, true, '2026-01-01 00:00:00', '2026-01-01 00:00:00' FROM n; \
         PRAGMA wal_checkpoint(TRUNCATE)",
    );
    let token = login().await.expect(200).json();
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let read = async |id: u32| {
        let path = served.url(&format!("/products/{id}"));
        Call::new(client().get(path)).by(&token).await
    };
    read(1).await.expect(200);
    let file = store.url().replace("sqlite://", "");
    let first_pages = std::fs::read(&file).expect("it can be read")[..8192].to_vec();
    std::fs::write(&file, first_pages).expect("it is cut short");
    for id in [19_999, 10_000, 5_000, 2] {
        let answer = read(id).await;
        assert!(
            answer.status.is_server_error() || answer.status.as_u16() == 404,
            "{answer:?}"
        );
    }
    let live = Call::new(client().get(served.url("/health/live"))).await;
    live.expect(200);
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));
}
