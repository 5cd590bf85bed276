//! The ways to a Redis, and what an operator reads of one that goes.

use std::path::Path;
use std::process::Stdio;

use alacena_lab::servers::{Redis, free_port};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use serde_json::Value;
use tokio::task::block_in_place;

use super::process::{Served, Shell};
use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, Call, client, eventually};

fn shell() -> Shell {
    Shell::new()
        .with("ALACENA_PROFILE", "test")
        .with("ALACENA__DATABASE__URL", "sqlite://alacena.db")
        .with("ALACENA__CACHE__BACKEND", "redis")
        .with("ALACENA__CACHE__REDIS__CONNECT_TIMEOUT", "2s")
        // A busy machine is no outage.
        .with("ALACENA__CACHE__REDIS__BUDGET", "5s")
}

fn setting(shell: Shell, name: &str, value: &str) -> Shell {
    shell.with(&format!("ALACENA__CACHE__REDIS__{name}"), value)
}

async fn cache(served: &Served) -> Value {
    let ready = Call::new(client().get(served.url("/health/ready"))).await;
    ready.expect(200).json()["components"]["cache"].clone()
}

async fn token(served: &Served) -> String {
    let form = [("username", ADMIN_EMAIL), ("password", ADMIN_PASSWORD)];
    let login = Call::new(client().post(served.url("/auth/login")));
    let answer = login.form(&form).await.expect(200).json();
    answer["access_token"].as_str().expect("a token").to_owned()
}

/// Reads twice: the second time out of Redis.
async fn reads_from_far(served: &Served) {
    let token = token(served).await;
    let read = async || {
        Call::new(client().get(served.url("/users/1")))
            .by(&token)
            .await
    };
    read().await.expect(200);
    let second = read().await.expect(200);
    assert!(second.cache_status().ends_with("detail=far"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_a_redis_by_its_parts() {
    let redis = block_in_place(Redis::start).expect("Redis starts");
    let user = [
        "ACL",
        "SETUSER",
        "alacena",
        "on",
        ">a pass/word",
        "~*",
        "+@all",
    ];
    block_in_place(|| redis.command(&user)).expect("it obeys");
    block_in_place(|| redis.command(&["CONFIG", "SET", "requirepass", "x"])).expect("it obeys");
    let shell = setting(shell(), "HOST", "127.0.0.1");
    let shell = setting(shell, "PORT", &redis.port().to_string());
    let shell = setting(shell, "DB", "3");
    let shell = setting(shell, "USERNAME", "alacena");
    let shell = setting(shell, "PASSWORD", "a pass/word");
    let served = block_in_place(|| shell.serve(&["serve"]));
    assert_eq!(cache(&served).await["status"], "up");
    reads_from_far(&served).await;
    let keys = block_in_place(|| redis.command(&["INFO", "keyspace"])).expect("it answers");
    assert!(keys.contains("db3:") && !keys.contains("db0:"), "{keys}");
}

/// The words of the command with which README makes a user for the service.
fn user_of_the_readme() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let (_, command) = readme
        .split_once("redis-cli ACL SETUSER")
        .expect("it is there");
    let (command, _) = command.split_once("```").expect("it ends");
    let words = command.split_whitespace().filter(|word| *word != "\\");
    let words = words.map(|word| word.trim_matches('\'').to_owned());
    ["ACL", "SETUSER"]
        .map(str::to_owned)
        .into_iter()
        .chain(words)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_no_more_rights_than_the_readme_gives() {
    let redis = block_in_place(Redis::start).expect("Redis starts");
    let user = user_of_the_readme();
    let user: Vec<&str> = user.iter().map(String::as_str).collect();
    block_in_place(|| redis.command(&user)).expect("it obeys");
    let shell = setting(shell(), "HOST", "127.0.0.1");
    let shell = setting(shell, "PORT", &redis.port().to_string());
    let shell = setting(shell, "USERNAME", "alacena");
    let shell = setting(shell, "PASSWORD", "PASSWORD");
    let served = block_in_place(|| shell.serve(&["serve"]));
    assert_eq!(cache(&served).await["status"], "up");
    reads_from_far(&served).await;
    let token = token(&served).await;
    let name = serde_json::json!({ "full_name": "Somebody" });
    let patch = client().patch(served.url("/users/1"));
    Call::new(patch).by(&token).json(&name).await.expect(200);
    let clear = client().delete(served.url("/cache/clear"));
    Call::new(clear).by(&token).await.expect(200);
    assert_eq!(cache(&served).await["status"], "up");
    // What is tried and may fail leaves its trace here; the library's greeting does.
    let denied = block_in_place(|| redis.command(&["ACL", "LOG"])).expect("it answers");
    let lines: Vec<&str> = denied.lines().collect();
    let mut objects = lines.windows(2).filter(|two| two[0] == "object");
    assert!(objects.all(|two| two[1] == "client|setinfo"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_a_redis_by_its_url_whatever_else_is_set() {
    let redis = block_in_place(|| Redis::start_with(&[("requirepass", "secret")]));
    let redis = redis.expect("Redis starts");
    let shell = setting(shell(), "HOST", "192.0.2.1");
    let shell = setting(shell, "URL", &redis.url());
    let served = block_in_place(|| shell.serve(&["serve"]));
    reads_from_far(&served).await;
    let shown = block_in_place(|| shell.run(&["check-config"]))
        .expect(0)
        .out;
    assert!(!shown.contains("secret@"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_a_redis_by_its_socket() {
    let redis = block_in_place(|| Redis::start_with(&[("unixsocket", "socket")]));
    let redis = redis.expect("Redis starts");
    let socket = redis.folder().join("data/socket");
    let shell = setting(
        shell(),
        "URL",
        &format!("redis+unix://{}", socket.display()),
    );
    let served = block_in_place(|| shell.serve(&["serve"]));
    reads_from_far(&served).await;
}

/// A certificate for this machine that signs itself, and its key.
fn certificate(folder: &Path) -> Result<(), openssl::error::ErrorStack> {
    let key = PKey::from_rsa(Rsa::generate(2048)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", "localhost")?;
    let name = name.build();
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    let serial = BigNum::from_u32(1)?.to_asn1_integer()?;
    certificate.set_serial_number(&serial)?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_pubkey(&key)?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    certificate.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&certificate.x509v3_context(None, None))?;
    certificate.append_extension(names)?;
    certificate.sign(&key, MessageDigest::sha256())?;
    let certificate = certificate.build().to_pem()?;
    std::fs::write(folder.join("certificate.pem"), certificate).expect("there is room");
    std::fs::write(folder.join("key.pem"), key.private_key_to_pem_pkcs8()?).expect("there is room");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_tls_and_believes_only_certificates_it_knows() {
    let shell = shell();
    certificate(shell.folder()).expect("a certificate can be made");
    let [certificate, key] =
        ["certificate.pem", "key.pem"].map(|name| shell.folder().join(name).display().to_string());
    let port = free_port().expect("a port is free").to_string();
    let redis = block_in_place(|| {
        Redis::start_with(&[
            ("tls-port", &port),
            ("tls-cert-file", &certificate),
            ("tls-key-file", &key),
            ("tls-auth-clients", "no"),
        ])
    });
    let _redis = redis.expect("Redis starts");
    let shell = setting(shell, "HOST", "localhost");
    let shell = setting(setting(shell, "PORT", &port), "TLS", "true");
    {
        let strict = block_in_place(|| shell.serve(&["serve"]));
        let cache = cache(&strict).await;
        assert_eq!(cache["status"], "degraded", "{cache}");
        let reason = cache["reason"].as_str().expect("a reason");
        assert!(reason.contains("certificate"), "{reason}");
    }
    let shell = shell.with("SSL_CERT_FILE", &certificate);
    let served = block_in_place(|| shell.serve(&["serve"]));
    reads_from_far(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_state_is_logged_once_and_names_its_reason() {
    let mut redis = block_in_place(Redis::start).expect("Redis starts");
    let shell = setting(shell(), "URL", &redis.url());
    let log = shell.folder().join("log");
    let file = std::fs::File::create(&log).expect("there is room");
    let served = block_in_place(|| shell.serve_logging(&["serve"], Stdio::from(file)));
    let token = token(&served).await;
    let visit = async || {
        for id in 1..40 {
            let path = format!("/products/{}", id % 5);
            let read = Call::new(client().get(served.url(&path))).by(&token).await;
            assert!(!read.status.is_server_error(), "{read:?}");
            let product = serde_json::json!({ "name": "New", "price_cents": 1 });
            let write = Call::new(client().post(served.url("/products"))).by(&token);
            write.json(&product).await.expect(201);
        }
    };
    let lines = |text: &str| {
        let log = std::fs::read_to_string(&log).expect("it can be read");
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for outages in 1..=2 {
        visit().await;
        block_in_place(|| redis.kill()).expect("it dies");
        visit().await;
        eventually("it is said", async || {
            cache(&served).await["status"] == "degraded"
        })
        .await;
        visit().await;
        let lost = lines("is not used from now on");
        assert_eq!(lost.len(), outages, "{lost:?}");
        block_in_place(|| redis.start_again()).expect("it starts");
        eventually("it is used", async || {
            cache(&served).await["status"] == "up"
        })
        .await;
        visit().await;
        let used = lines("is used again, after");
        assert_eq!(used.len(), outages, "{used:?}");
    }
    let others = lines("WARN").len() + lines("ERROR").len();
    assert_eq!(others, 2, "nothing else is said of it: {:?}", lines(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_its_redis_and_says_so() {
    let mut redis = block_in_place(Redis::start).expect("Redis starts");
    block_in_place(|| redis.kill()).expect("it dies");
    let shell = setting(shell(), "URL", &redis.url());
    let served = block_in_place(|| shell.serve(&["serve"]));
    let degraded = cache(&served).await;
    assert_eq!(degraded["status"], "degraded", "{degraded}");
    let reason = degraded["reason"].as_str().expect("a reason");
    assert!(reason.contains("cannot connect"), "{reason}");
    block_in_place(|| redis.start_again()).expect("it starts");
    eventually("it is used", async || {
        cache(&served).await["status"] == "up"
    })
    .await;
    reads_from_far(&served).await;
}
