//! The instances: processes that can be killed and started again on the same port.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::options::Mutant;
use crate::servers::free_port;

/// How long an instance may take to start, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A setting of an instance's configuration: `CACHE__BACKEND`, and its value.
pub(super) type Setting = (&'static str, String);

/// All instances.
pub(super) struct Fleet {
    instances: Vec<Instance>,
}

struct Instance {
    settings: Vec<Setting>,
    mutant: Option<Mutant>,
    folder: PathBuf,
    number: usize,
    address: SocketAddr,
    process: Option<Child>,
}

impl Fleet {
    /// Starts an instance for each of these settings, one after the other. Their logs are in
    /// `folder`.
    pub(super) async fn start(
        settings: Vec<Vec<Setting>>,
        mutant: Option<Mutant>,
        folder: &Path,
    ) -> Result<Self> {
        let mut instances = Vec::new();
        for (number, settings) in settings.into_iter().enumerate() {
            let mut instance = Instance {
                settings,
                mutant,
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
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let instances = self.instances.iter();
        instances.map(|instance| instance.address).collect()
    }

    /// Kills an instance (SIGKILL).
    pub(super) async fn kill(&mut self, number: usize) -> Result<()> {
        let process = self.instances[number].process.take();
        let mut process = process.context("the instance runs")?;
        process.kill().await.context("killing an instance")
    }

    /// Starts a killed instance on the port that it had.
    pub(super) async fn start_again(&mut self, number: usize) -> Result<()> {
        self.instances[number].start().await
    }

    /// Makes sure that none has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
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

impl Instance {
    async fn start(&mut self) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let log = File::options().create(true).append(true).open(self.log());
        let mut command = Command::new(program);
        command.arg("instance");
        if let Some(mutant) = self.mutant {
            let name = clap::ValueEnum::to_possible_value(&mutant);
            command
                .arg("--mutant")
                .args(name.as_ref().map(clap::builder::PossibleValue::get_name));
        }
        command
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
