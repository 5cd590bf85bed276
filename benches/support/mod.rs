//! What the benchmarks share: clients that load a server, and rounds in which targets take turns, so
//! that a noisy machine hurts all of them alike.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const CONNECTIONS: usize = 32;

/// What a bare route answers with: as many bytes as a user has.
pub(crate) const BODY: &str = r#"{"id":1,"email":"admin@example.com","full_name":"Administrator","role":"admin","is_active":true,"created_at":"2026-01-01T00:00:00.000000Z","updated_at":"2026-01-01T00:00:00.000000Z","version":1}"#;

/// A server's name, its address, and the path to ask it for.
pub(crate) type Target = (&'static str, SocketAddr, &'static str);

/// One thread, on which servers run beside their workers.
pub(crate) fn background() -> Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Loads all targets in turn, `[ROUNDS [SECONDS]]` on the command line, and prints requests per
/// second and how they compare with the first target's. The token is that of the last target's admin.
pub(crate) fn compare(targets: &[Target]) -> Result<()> {
    // Cargo hands its own `--bench` on.
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok());
    let rounds: usize = numbers.next().unwrap_or(7) as usize;
    let seconds = Duration::from_secs(numbers.next().unwrap_or(2));
    let clients = Builder::new_current_thread().enable_all().build()?;
    clients.block_on(async {
        let token = login(targets[targets.len() - 1].1).await?;
        for (_, address, path) in targets {
            load(*address, path, &token, Duration::from_millis(500)).await?;
        }
        let mut rates = vec![Vec::new(); targets.len()];
        for _ in 0..rounds {
            for ((_, address, path), rates) in targets.iter().zip(&mut rates) {
                rates.push(load(*address, path, &token, seconds).await?);
            }
        }
        let first = rates[0].clone();
        for ((name, ..), rates) in targets.iter().zip(&mut rates) {
            let mut ratios: Vec<f64> = rates
                .iter()
                .zip(&first)
                .map(|(rate, first)| rate / first)
                .collect();
            let (rate, ratio) = (spread(rates, 0), spread(&mut ratios, 3));
            println!("{name:32} {rate}; ratio {ratio}");
        }
        anyhow::Ok(())
    })
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
