//! A read that Redis answers, beside a bare Actix route that checks a token and does one `GET` on a
//! shared multiplexed connection; and the same route with a checkout from a pool for each `GET`. All
//! in this process, on a `redis-server` of its own, in turn, round by round. Prints requests per
//! second and how they compare with the first.
//!
//! `cargo bench --bench far [-- ROUNDS SECONDS]`

mod support;

use std::net::{SocketAddr, TcpListener};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::header, web};
use alacena::app::Application;
use alacena::auth::Tokens;
use alacena::config::Config;
use alacena_lab::servers::Redis;
use anyhow::Result;
use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cmd;
use deadpool_redis::{Pool, Runtime as Tokio};
use tokio::runtime::Runtime;

use support::BODY;

fn main() -> Result<()> {
    let redis = Redis::start()?;
    redis.command(&["SET", "bare", BODY])?;
    let folder = std::env::temp_dir().join(format!("alacena-bench-{}", std::process::id()));
    let servers = support::background()?;
    let mut running = Vec::new();
    let mut alacena = |backend: &str| {
        let config = Config::for_tests(&format!(
            "[database]\nurl = \"sqlite://{}/{backend}.db\"\n[server]\nworkers = 1\n\
             [cache]\nbackend = \"{backend}\"\nnamespace = \"{backend}\"\n\
             [cache.redis]\nurl = \"{}\"\nbudget = \"1s\"\n",
            folder.display(),
            redis.url()
        ))?;
        let application = servers.block_on(Application::build(&config))?;
        let address = application.address();
        let stop = application.stop_handle();
        running.push((stop, servers.spawn(application.run())));
        anyhow::Ok((address, config))
    };
    let (tiered, _) = alacena("tiered")?;
    let (far, config) = alacena("redis")?;
    let pool = deadpool_redis::Config::from_url(redis.url()).create_pool(Some(Tokio::Tokio1))?;
    let shared = servers.block_on(async {
        let client = deadpool_redis::redis::Client::open(redis.url())?;
        client.get_multiplexed_async_connection().await
    })?;
    let bare = bare_route(&config, &servers, pool, shared)?;
    support::compare(&[
        ("bare, GET on a shared connection", bare, "/shared"),
        ("bare, GET on a checkout", bare, "/pool"),
        ("tiered", tiered, "/users/1"),
        ("redis", far, "/users/1"),
    ])?;
    servers.block_on(async {
        for (stop, running) in running {
            stop.stop().await;
            running.await??;
        }
        anyhow::Ok(())
    })?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn bare_route(
    config: &Config,
    runtime: &Runtime,
    pool: Pool,
    shared: MultiplexedConnection,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let tokens = Tokens::new(&config.auth);
    let _inside = runtime.enter();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(tokens.clone()))
            .app_data(web::Data::new(pool.clone()))
            .app_data(web::Data::new(shared.clone()))
            .route("/shared", web::get().to(on_shared))
            .route("/pool", web::get().to(on_checkout))
    });
    runtime.spawn(server.workers(1).disable_signals().listen(listener)?.run());
    Ok(address)
}

async fn on_shared(
    request: HttpRequest,
    tokens: web::Data<Tokens>,
    shared: web::Data<MultiplexedConnection>,
) -> HttpResponse {
    let mut connection = shared.get_ref().clone();
    answer(&request, &tokens, &mut connection).await
}

async fn on_checkout(
    request: HttpRequest,
    tokens: web::Data<Tokens>,
    pool: web::Data<Pool>,
) -> HttpResponse {
    match pool.get().await {
        Ok(mut connection) => answer(&request, &tokens, &mut connection).await,
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn answer(
    request: &HttpRequest,
    tokens: &Tokens,
    connection: &mut impl ConnectionLike,
) -> HttpResponse {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if token.is_none_or(|token| tokens.verify(token).is_err()) {
        return HttpResponse::Unauthorized().finish();
    }
    match cmd("GET")
        .arg("bare")
        .query_async::<Vec<u8>>(connection)
        .await
    {
        Ok(body) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(body),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}
