//! A cached read beside the least that Actix can do: a bare route that checks a token and answers
//! with fixed bytes. Both in this process, in turn, round by round. Prints requests per second and
//! their ratio.
//!
//! `cargo bench --bench hit [-- ROUNDS SECONDS]`

mod support;

use std::net::{SocketAddr, TcpListener};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::header, web};
use alacena::app::Application;
use alacena::auth::Tokens;
use alacena::config::Config;
use anyhow::Result;

use support::BODY;

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("alacena-bench-{}", std::process::id()));
    let config = Config::for_tests(&format!(
        "[database]\nurl = \"sqlite://{}/hit.db\"\n[server]\nworkers = 1\n",
        folder.display()
    ))?;
    let servers = support::background()?;
    let application = servers.block_on(Application::build(&config))?;
    let cached = application.address();
    let stop = application.stop_handle();
    let running = servers.spawn(application.run());
    let bare = bare_route(&config, &servers)?;
    support::compare(&[
        ("bare route", bare, "/bare"),
        ("cached read", cached, "/users/1"),
    ])?;
    servers.block_on(async {
        stop.stop().await;
        running.await?
    })?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// The least there is to do: look at the token, answer with the bytes.
fn bare_route(config: &Config, runtime: &tokio::runtime::Runtime) -> Result<SocketAddr> {
    async fn answer(request: HttpRequest, tokens: web::Data<Tokens>) -> HttpResponse {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match token.map(|token| tokens.verify(token)) {
            Some(Ok(_)) => HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, "application/json"))
                .body(web::Bytes::from_static(BODY.as_bytes())),
            _ => HttpResponse::Unauthorized().finish(),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let tokens = Tokens::new(&config.auth);
    let _inside = runtime.enter();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(tokens.clone()))
            .route("/bare", web::get().to(answer))
    });
    runtime.spawn(server.workers(1).disable_signals().listen(listener)?.run());
    Ok(address)
}
