//! The database is well, but something between it and the service has forgotten the connections
//! there were: what is sent on them is taken and never answered. New ones work.

use std::net::SocketAddr;
use std::time::Duration;

use alacena::config::Config;
use alacena::db::Database;
use alacena_lab::servers::Postgres;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, TestApp, Truth, eventually};

/// Passes bytes on until it forgets: from then on the connections it has are silent for ever.
struct Forgetful {
    address: SocketAddr,
    generation: watch::Sender<u64>,
}

impl Forgetful {
    async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (generation, seen) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut forgotten = seen.clone();
                forgotten.mark_unchanged();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(upstream).await.expect("it is up");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = forgotten.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self {
            address,
            generation,
        }
    }

    fn forget(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

const IMPATIENT: &str = "database.wait = '500ms'\ndatabase.timeout = '1s'\n\
                         database.pool_size = 3\nauth.login_attempts = 2";

/// What may forget, and the URL of a new database behind it.
async fn forgetful_database() -> (Forgetful, String) {
    let (port, url) = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::shared();
        let url = postgres.create_database().expect("it makes databases");
        (postgres.port(), url)
    })
    .await
    .expect("no panics");
    let forgetful = Forgetful::before(([127, 0, 0, 1], port).into()).await;
    let url = url.replace(&port.to_string(), &forgetful.address.port().to_string());
    (forgetful, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_given_up_though_others_of_the_service_are_answered() {
    let (forgetful, url) = forgetful_database().await;
    // So patient that the other is never long without an answer, on a busy machine either.
    let config = format!(
        "database.url = '{url}'\ndatabase.wait = '5s'\ndatabase.timeout = '5s'\n\
         database.pool_size = 3"
    );
    let config = Config::for_tests(&config).expect("it is valid");
    let database = Database::new(&config.database);
    let mut looking_on = Truth::at(&url);
    eventually(
        "there are as many connections as there may be",
        async || {
            let several = futures_util::future::join_all((0..3).map(|_| database.check())).await;
            assert!(several.iter().all(Result::is_ok));
            let count = "SELECT count(*)::text AS value FROM pg_stat_activity \
                     WHERE datname = current_database()";
            looking_on.texts(count) == ["4"]
        },
    )
    .await;

    forgetful.forget();
    // On a connection of its own, which is new.
    let other = database.apart();
    let answered = tokio::spawn(async move {
        loop {
            other.check().await.expect("it is answered all the time");
        }
    });
    let well_again = eventually("the others are reached anew", async || {
        database.check().await.is_ok()
    });
    let in_time = tokio::time::timeout(Duration::from_secs(60), well_again).await;
    in_time.expect("they wait for connections that nobody knows of");
    assert!(!answered.is_finished());
    answered.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_connections_are_given_up_for_new_ones() {
    let (forgetful, url) = forgetful_database().await;
    let app = TestApp::start_at(&url, "memory", IMPATIENT).await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    let fresh = async || {
        let call = app.get(&product).by(&admin);
        call.header("cache-control", "no-cache").await
    };
    let several = futures_util::future::join_all((0..3).map(|_| fresh())).await;
    assert!(several.iter().all(|answer| answer.status.as_u16() == 200));

    forgetful.forget();
    // What cannot be checked is no failed login, however often it is tried.
    for _ in 0..4 {
        let form = [("username", ADMIN_EMAIL), ("password", ADMIN_PASSWORD)];
        let login = app.post("/auth/login").form(&form).await;
        if login.status.as_u16() != 200 {
            login.problem(503, "unavailable").retry_after();
        }
    }
    let well_again = eventually("the database is reached anew", async || {
        fresh().await.status.as_u16() == 200
    });
    let in_time = tokio::time::timeout(Duration::from_secs(20), well_again).await;
    assert!(
        in_time.is_ok(),
        "the service waits for connections nobody knows of"
    );
    let changed = app.patch(&product).by(&admin);
    changed
        .json(&serde_json::json!({ "stock": 5 }))
        .await
        .expect(200);
    app.stop().await;
}
