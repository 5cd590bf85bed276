//! A memcached, asked in its text protocol on one connection.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// It did not answer in time, or not sensibly.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("memcached did not answer")]
pub(crate) struct NoAnswer;

/// What is stored under a name, and what tells it from anything stored there later.
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) unique: u64,
}

/// When something is stored.
#[derive(Clone, Copy)]
pub(crate) enum When {
    Always,
    /// If there is nothing.
    Absent,
    /// If this is still there.
    Is(u64),
}

/// How long a server that failed is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a list of names is asked for while another is made.
const TRIES: usize = 1000;

/// How many names are asked for at once.
const AT_ONCE: usize = 100;

/// The longest time to live that is counted from now; greater numbers are points in time.
const MAX_LIFE: u64 = 30 * 24 * 3600;

pub(crate) struct Server {
    address: String,
    budget: Duration,
    /// Away from here while it is in use: whoever hangs up in the middle leaves none behind.
    connection: Mutex<Option<BufReader<TcpStream>>>,
    /// When it last failed, unless it has answered since. That somebody hung up is no failure.
    failed: std::sync::Mutex<Option<Instant>>,
    pub(crate) commands: AtomicU64,
    pub(crate) failures: AtomicU64,
}

impl Server {
    pub(crate) fn new(address: String, budget: Duration) -> Self {
        Self {
            address,
            budget,
            connection: Mutex::default(),
            failed: std::sync::Mutex::default(),
            commands: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// What is stored under each of the names.
    pub(crate) async fn get(&self, names: &[String]) -> Result<Vec<Option<Found>>, NoAnswer> {
        let mut all = Vec::with_capacity(names.len());
        for some in names.chunks(AT_ONCE) {
            let request = format!("gets {}\r\n", some.join(" "));
            let found = self.ask(request.as_bytes(), async |server| {
                let mut found: Vec<Option<Found>> = some.iter().map(|_| None).collect();
                loop {
                    let line = line(server).await?;
                    if line == "END" {
                        return Ok(found);
                    }
                    let words: Vec<&str> = line.split(' ').collect();
                    let ["VALUE", name, _, length, unique] = words[..] else {
                        return Err(senseless());
                    };
                    let mut bytes = vec![0; number::<usize>(length)? + 2];
                    server.read_exact(&mut bytes).await?;
                    bytes.truncate(bytes.len() - 2);
                    let unique = number(unique)?;
                    let bytes = Bytes::from(bytes);
                    for (_, found) in some.iter().zip(&mut found).filter(|(one, _)| *one == name) {
                        *found = Some(Found {
                            bytes: bytes.clone(),
                            unique,
                        });
                    }
                }
            });
            all.extend(found.await?);
        }
        Ok(all)
    }

    /// Stores something for a time. Answers whether it was stored.
    pub(crate) async fn store(
        &self,
        when: When,
        name: &str,
        life: Duration,
        bytes: &[u8],
    ) -> Result<bool, NoAnswer> {
        let (verb, unique) = match when {
            When::Always => ("set", String::new()),
            When::Absent => ("add", String::new()),
            When::Is(unique) => ("cas", format!(" {unique}")),
        };
        let life = life.as_millis().div_ceil(1000).max(1);
        let life = u64::try_from(life).unwrap_or(MAX_LIFE).min(MAX_LIFE);
        let length = bytes.len();
        let mut request = format!("{verb} {name} 0 {life} {length}{unique}\r\n").into_bytes();
        request.extend_from_slice(bytes);
        request.extend_from_slice(b"\r\n");
        self.ask(&request, async |server| match &*line(server).await? {
            "STORED" => Ok(true),
            "NOT_STORED" | "EXISTS" | "NOT_FOUND" => Ok(false),
            // Too large, or there is no room.
            text if text.starts_with("SERVER_ERROR") => Ok(false),
            _ => Err(senseless()),
        })
        .await
    }

    /// Removes what is stored under these names.
    pub(crate) async fn delete(&self, names: &[String]) -> Result<(), NoAnswer> {
        for some in names.chunks(AT_ONCE) {
            let request: String = some
                .iter()
                .map(|name| format!("delete {name}\r\n"))
                .collect();
            let deleted = self.ask(request.as_bytes(), async |server| {
                for _ in some {
                    match &*line(server).await? {
                        "DELETED" | "NOT_FOUND" => {}
                        _ => return Err(senseless()),
                    }
                }
                Ok(())
            });
            deleted.await?;
        }
        Ok(())
    }

    /// Adds one to a number, if it is there.
    pub(crate) async fn increment(&self, name: &str) -> Result<Option<u64>, NoAnswer> {
        let request = format!("incr {name} 1\r\n");
        self.ask(request.as_bytes(), async |server| {
            match &*line(server).await? {
                "NOT_FOUND" => Ok(None),
                text => number(text).map(Some),
            }
        })
        .await
    }

    /// Every name that there is.
    pub(crate) async fn names(&self) -> Result<Vec<String>, NoAnswer> {
        for _ in 0..TRIES {
            let names = self.ask(b"lru_crawler metadump hash\r\n", async |server| {
                let mut names = Vec::new();
                loop {
                    let line = line(server).await?;
                    if line == "END" {
                        return Ok(Some(names));
                    }
                    if line.starts_with("BUSY") {
                        return Ok(None);
                    }
                    let name = line.split(' ').next();
                    let name = name.and_then(|word| word.strip_prefix("key="));
                    names.push(name.ok_or_else(senseless)?.to_owned());
                }
            });
            match names.await? {
                Some(names) => return Ok(names),
                // It makes one list at a time.
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        Err(NoAnswer)
    }

    /// A number that the server knows of itself.
    pub(crate) async fn figures<const N: usize>(
        &self,
        wanted: [&str; N],
    ) -> Result<[u64; N], NoAnswer> {
        self.ask(b"stats\r\n", async |server| {
            let mut figures = [0; N];
            loop {
                let line = line(server).await?;
                let words: Vec<&str> = line.split(' ').collect();
                match words[..] {
                    ["END"] => return Ok(figures),
                    ["STAT", name, figure] => {
                        let place = wanted.iter().position(|wanted| *wanted == name);
                        if let Some(place) = place {
                            figures[place] = number(figure)?;
                        }
                    }
                    // Some values have blanks in them.
                    _ => {}
                }
            }
        })
        .await
    }

    /// Sends a request and reads its answer, within the budget. A connection that failed, or whose
    /// answer nobody waited for, is not used again.
    async fn ask<T>(
        &self,
        request: &[u8],
        read: impl AsyncFnOnce(&mut BufReader<TcpStream>) -> io::Result<T>,
    ) -> Result<T, NoAnswer> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let asking = async {
            if self.failed().is_some_and(|failed| failed.elapsed() < PAUSE) {
                return Err(senseless());
            }
            let mut place = self.connection.lock().await;
            let mut connection = match place.take() {
                Some(connection) => connection,
                None => {
                    let stream = TcpStream::connect(&self.address).await?;
                    stream.set_nodelay(true)?;
                    BufReader::new(stream)
                }
            };
            connection.write_all(request).await?;
            let answer = read(&mut connection).await?;
            *place = Some(connection);
            Ok(answer)
        };
        let answer = tokio::time::timeout(self.budget, asking).await;
        let answer = answer.map_err(io::Error::from).flatten();
        let mut failed = self.failed();
        match answer {
            Ok(answer) => {
                *failed = None;
                Ok(answer)
            }
            Err(_) => {
                // Those who were not let through do not put it off.
                if failed.is_none_or(|failed| failed.elapsed() >= PAUSE) {
                    *failed = Some(Instant::now());
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(NoAnswer)
            }
        }
    }

    fn failed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn line(server: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    server.read_line(&mut line).await?;
    match line.strip_suffix("\r\n").or(line.strip_suffix('\n')) {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| senseless())
}

fn senseless() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
