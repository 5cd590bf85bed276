//! Instances of the service: processes that can be killed and started again on the same port.

mod instance;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub use instance::{InstanceOptions, Mutant, Pace, serve};

use crate::servers::free_port;
use crate::traffic::Client;

/// How long an instance may take to start, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// How long the instances may take to be well again.
const WELL_LIMIT: Duration = Duration::from_secs(20);

/// A setting of an instance's configuration: `CACHE__BACKEND`, and its value.
pub(crate) type Setting = (&'static str, String);

/// All instances.
pub(crate) struct Fleet {
    instances: Vec<Instance>,
}

struct Instance {
    settings: Vec<Setting>,
    options: InstanceOptions,
    folder: PathBuf,
    number: usize,
    address: SocketAddr,
    process: Option<Child>,
}

impl Fleet {
    /// Starts an instance for each of these settings, one after the other. Their logs are in
    /// `folder`.
    pub(crate) async fn start(
        settings: Vec<Vec<Setting>>,
        options: InstanceOptions,
        folder: &Path,
    ) -> Result<Self> {
        let mut instances = Vec::new();
        for (number, settings) in settings.into_iter().enumerate() {
            let mut instance = Instance {
                settings,
                options,
                folder: folder.to_owned(),
                number,
                address: (Ipv4Addr::LOCALHOST, free_port()?).into(),
                process: None,
            };
            instance.start().await?;
            instances.push(instance);
        }
        Ok(Self { instances })
    }

    /// Where each listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let instances = self.instances.iter();
        instances.map(|instance| instance.address).collect()
    }

    /// The processes of those that run.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        let processes = self.instances.iter().filter_map(|it| it.process.as_ref());
        processes.filter_map(Child::id)
    }

    /// Kills an instance (SIGKILL).
    pub(crate) async fn kill(&mut self, number: usize) -> Result<()> {
        let process = self.instances[number].process.take();
        let mut process = process.context("the instance runs")?;
        process.kill().await.context("killing an instance")
    }

    /// Starts a killed instance on the port that it had.
    pub(crate) async fn start_again(&mut self, number: usize) -> Result<()> {
        self.instances[number].start().await
    }

    /// Waits until every instance is ready, and uses Redis if it has one.
    pub(crate) async fn well(&self) -> Result<()> {
        let began = Instant::now();
        for instance in &self.instances {
            let mut client = Client::new(instance.address, None);
            let mut said = String::new();
            while !is_well(&mut client, &mut said).await {
                ensure!(
                    began.elapsed() < WELL_LIMIT,
                    "instance {} is still not well after {WELL_LIMIT:?}: {said}",
                    instance.number
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Makes sure that none has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        for instance in &mut self.instances {
            if let Some(process) = &mut instance.process
                && let Some(status) = process.try_wait()?
            {
                anyhow::bail!(
                    "instance {} ended ({status}), and this is the end of what it said:\n{}",
                    instance.number,
                    instance.said()
                );
            }
        }
        Ok(())
    }
}

async fn is_well(client: &mut Client, said: &mut String) -> bool {
    let mut request: Request<Full<Bytes>> = Request::default();
    *request.uri_mut() = Uri::from_static("/health/ready");
    match client.ask(request).await {
        Ok(answer) => {
            let ready: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            *said = ready.to_string();
            ready["status"] == "up"
        }
        Err(failure) => {
            *said = failure.to_string();
            false
        }
    }
}

impl Instance {
    async fn start(&mut self) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let log = File::options().create(true).append(true).open(self.log());
        let mut command = Command::new(program);
        command
            .arg("instance")
            .args(self.options.arguments())
            // Not the starter's: they would be settings of every instance.
            .env_clear()
            .envs(
                ["TMPDIR", "RUST_LOG", "RUST_BACKTRACE"]
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("ALACENA__SERVER__PORT", self.address.port().to_string())
            .envs(
                self.settings
                    .iter()
                    .map(|(name, value)| (format!("ALACENA__{name}"), value)),
            )
            // A folder without a `config`.
            .current_dir(&self.folder)
            // It ends when this end of the pipe closes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.context("opening an instance's log")?)
            .kill_on_drop(true);
        let mut process = command.spawn().context("starting an instance")?;
        let said = process.stdout.take().context("an instance's output")?;
        let line = timeout(LIMIT, BufReader::new(said).lines().next_line()).await;
        let is_up = matches!(&line, Ok(Ok(Some(line))) if line.starts_with("listening"));
        ensure!(
            is_up,
            "instance {} did not start within {LIMIT:?}, and this is the end of what it said:\n{}",
            self.number,
            self.said()
        );
        self.process = Some(process);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("instance-{}.log", self.number))
    }

    /// The end of its log.
    fn said(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}
