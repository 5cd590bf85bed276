//! A cached read beside the least that Actix can do: a bare route that checks a token and answers
//! with fixed bytes. Both in this process, in turn, round by round, so that a noisy machine hurts
//! both alike. Prints requests per second and their ratio.
//!
//! `cargo bench --bench hit [-- ROUNDS SECONDS]`

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::header, web};
use alacena::app::Application;
use alacena::auth::Tokens;
use alacena::config::Config;
use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
const BODY: &str = r#"{"id":1,"email":"admin@example.com","full_name":"Administrator","role":"admin","is_active":true,"created_at":"2026-01-01T00:00:00.000000Z","updated_at":"2026-01-01T00:00:00.000000Z","version":1}"#;

fn main() -> Result<()> {
    // Cargo hands its own `--bench` on.
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok());
    let rounds: usize = numbers.next().unwrap_or(7) as usize;
    let seconds = Duration::from_secs(numbers.next().unwrap_or(2));

    let folder = std::env::temp_dir().join(format!("alacena-bench-{}", std::process::id()));
    let config = Config::for_tests(&format!(
        "[database]\nurl = \"sqlite://{}/hit.db\"\n[server]\nworkers = 1\n",
        folder.display()
    ))?;
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let application = servers.block_on(Application::build(&config))?;
    let cached = application.address();
    let stop = application.stop_handle();
    let running = servers.spawn(application.run());
    let bare = bare_route(&config, &servers)?;

    let clients = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    clients.block_on(async {
        let token = login(cached).await?;
        let paths = [
            ("bare route", bare, "/bare"),
            ("cached read", cached, "/users/1"),
        ];
        for (_, address, path) in paths {
            load(address, path, &token, Duration::from_millis(500)).await?;
        }
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for ((_, address, path), rates) in paths.iter().zip(&mut rates) {
                rates.push(load(*address, path, &token, seconds).await?);
            }
        }
        let mut ratios: Vec<f64> = rates[1]
            .iter()
            .zip(&rates[0])
            .map(|(cached, bare)| cached / bare)
            .collect();
        for ((name, ..), rates) in paths.iter().zip(&mut rates) {
            println!("{name:12} {}", spread(rates, 0));
        }
        println!("{:12} {}", "ratio", spread(&mut ratios, 3));
        anyhow::Ok(())
    })?;
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

async fn login(address: SocketAddr) -> Result<String> {
    let form = "username=admin%40example.com&password=admin123";
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::new();
    let answer = answer(&mut stream, &mut buffer).await?;
    let json: serde_json::Value = serde_json::from_slice(&buffer[answer.head..answer.end])?;
    Ok(json["access_token"].as_str().context("a token")?.to_owned())
}

/// Requests per second of so many connections that each send the next request when the last is
/// answered.
async fn load(address: SocketAddr, path: &str, token: &str, time: Duration) -> Result<f64> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let started = Instant::now();
    let deadline = started + time;
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let mut buffer = Vec::new();
                let mut answered = 0_u64;
                while Instant::now() < deadline {
                    stream.write_all(request.as_bytes()).await?;
                    let Answer { end, .. } = answer(&mut stream, &mut buffer).await?;
                    buffer.drain(..end);
                    answered += 1;
                }
                anyhow::Ok(answered)
            })
        })
        .collect();
    let mut answered = 0;
    for connection in connections {
        answered += connection.await??;
    }
    Ok(answered as f64 / started.elapsed().as_secs_f64())
}

/// Where an answer's body begins and ends.
struct Answer {
    head: usize,
    end: usize,
}

async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Answer> {
    loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = std::str::from_utf8(&buffer[..head])?;
            anyhow::ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
            let length: Option<usize> = text.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse().ok())?
            });
            let end = head + 4 + length.context("a content length")?;
            while buffer.len() < end {
                anyhow::ensure!(stream.read_buf(buffer).await? > 0, "hung up");
            }
            return Ok(Answer {
                head: head + 4,
                end,
            });
        }
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "hung up");
    }
}

/// Median, least and most.
fn spread(numbers: &mut [f64], decimals: usize) -> String {
    numbers.sort_by(f64::total_cmp);
    let (least, most) = (numbers[0], numbers[numbers.len() - 1]);
    let median = numbers[numbers.len() / 2];
    format!("median {median:.decimals$}  (from {least:.decimals$} to {most:.decimals$})")
}
