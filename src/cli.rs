//! The command line: what can be asked of the program, and how it answers.

use std::io::{BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Application;
use crate::auth::PasswordHasher;
use crate::cache::{Cache, NullBackend, SystemClock, Tasks};
use crate::config::{self, Config, Location, Profile};
use crate::db::{Database, Seed};
use crate::domain::{Email, Password};
use crate::http;
use crate::service::Services;

/// Users and products over REST, read out of a cache that never serves what a write has replaced.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Without a command it serves.\n\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."
)]
struct Cli {
    /// A configuration file, over config/default.toml and config/PROFILE.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The set of settings to use: development, production, test, or one of your own
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "ALACENA_PROFILE",
        default_value = "development"
    )]
    profile: String,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run pending migrations, then serve until told to stop (the default)
    Serve,
    /// Run pending migrations and exit; any number may do so at once
    Migrate,
    /// Fill the database with plausible rows; the same for the same seed
    Seed {
        /// How many users there shall be of this seed
        #[arg(long, value_name = "N")]
        users: u64,
        /// How many products there shall be of this seed
        #[arg(long, value_name = "N", default_value_t = 0)]
        products: u64,
        /// Which rows
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// The password of every user made; `password` in the profiles whose secrets are public
        #[arg(long)]
        password: Option<String>,
    },
    /// Load the configuration, check it, and print what is in effect
    CheckConfig,
    /// Ask the running instance whether it is ready; prints why not
    Healthcheck {
        /// Ask whether it lives: for containers, which need no restart while the database is away
        #[arg(long)]
        live: bool,
    },
    /// Look after accounts
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Set a password, read from the terminal or from standard input
    ///
    /// Running instances learn it from the first token that is issued after, or within
    /// cache.user_ttl.
    ResetPassword {
        /// Whose
        email: String,
    },
    /// Revoke every token issued so far, of one account or of all
    ///
    /// Running instances refuse them as soon as they have read the change log. For a database that
    /// was restored in a way which the service cannot tell: see docs/tokens.md.
    RevokeTokens {
        /// Whose; without it, everybody's
        email: Option<String>,
    },
    /// Make somebody an active admin; running instances notice within cache.user_ttl
    Promote {
        /// Whom
        email: String,
    },
}

/// What is logged unless `RUST_LOG` says otherwise. A head that is no HTTP is its sender's business,
/// and no error of ours, whatever the framework calls it.
const LOGGED: &str = "info,actix_server=warn,actix_http=off";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    ExitCode::from(run_command(Cli::parse()))
}

fn run_command(cli: Cli) -> u8 {
    let location = Location {
        profile: Profile::named(&cli.profile),
        file: cli.config,
    };
    if location.profile.is_development() {
        // Never over what is set already; absent is fine.
        let _ = dotenvy::dotenv();
    }
    let command = cli.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        return print(&format!("{:#}\n", http::document()));
    }
    let config = match config::load(&location, std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("alacena: configuration: {error}");
            return WRONG_USAGE;
        }
    };
    if matches!(command, Command::CheckConfig) {
        return print(&format!(
            "# profile {}\n{}",
            location.profile,
            config.to_masked_toml()
        ));
    }
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOGGED))
        .format_timestamp_millis()
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("alacena: {error}");
            return FAILED;
        }
    };
    let outcome = runtime.block_on(execute(command, &config));
    // What still runs waits for a database that does not answer; nobody waits for that.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => DONE,
        Err(error) => {
            eprintln!("alacena: {error:#}");
            FAILED
        }
    }
}

/// Prints to standard output. A reader who has seen enough is no failure.
fn print(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("alacena: {error}");
            FAILED
        }
        _ => DONE,
    }
}

async fn execute(command: Command, config: &Config) -> Result<()> {
    match command {
        Command::Serve => serve(config).await,
        Command::Migrate => migrate(config).await,
        Command::Seed {
            users,
            products,
            seed,
            password,
        } => {
            let public = config.has_public_secrets().then(|| "password".to_owned());
            let password = password
                .or(public)
                .context("--password is needed in this profile")?;
            let password =
                Password::parse(&password).map_err(|invalid| anyhow!("--password {invalid}"))?;
            fill(config, users, products, Seed(seed), password).await
        }
        Command::Healthcheck { live } => healthcheck(config, live).await,
        Command::Admin(AdminCommand::ResetPassword { email }) => {
            reset_password(config, &email).await
        }
        Command::Admin(AdminCommand::RevokeTokens { email }) => {
            revoke_tokens(config, email.as_deref()).await
        }
        Command::Admin(AdminCommand::Promote { email }) => promote(config, &email).await,
        Command::CheckConfig | Command::Openapi => Ok(()),
    }
}

async fn serve(config: &Config) -> Result<()> {
    // Before anybody is told that it runs: from then on it can be told to stop.
    let signals = Signals::new().context("listening for signals")?;
    let application = Application::build(config).await?;
    let stop = application.stop_handle();
    println!("listening on http://{}", application.address());
    if let Some(address) = application.metrics_address() {
        println!("metrics on http://{address}/metrics");
    }
    tokio::spawn(async move {
        let name = signals.next().await;
        log::info!("{name}: stopping");
        stop.stop().await;
    });
    application.run().await?;
    log::info!("stopped");
    Ok(())
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn migrate(config: &Config) -> Result<()> {
    let run = Database::new(&config.database).migrate().await?;
    for name in &run {
        println!("ran {name}");
    }
    println!(
        "{}",
        if run.is_empty() {
            "nothing to do"
        } else {
            "done"
        }
    );
    Ok(())
}

async fn fill(
    config: &Config,
    users: u64,
    products: u64,
    seed: Seed,
    password: Password,
) -> Result<()> {
    let database = Database::new(&config.database);
    database.migrate().await?;
    let hasher = PasswordHasher::new(&config.auth)?;
    // One hash for all: a million of them would take a day.
    let hash = hasher.hash(password.expose().into()).await?;
    let bar = progress("users", users)?;
    database
        .seed_users(seed, users, hash, |done| bar.set_position(done))
        .await?;
    bar.finish();
    let bar = progress("products", products)?;
    database
        .seed_products(seed, products, |done| bar.set_position(done))
        .await?;
    bar.finish();
    println!(
        "{users} users and {products} products of seed {} are there",
        seed.0
    );
    Ok(())
}

fn progress(what: &'static str, count: u64) -> Result<ProgressBar> {
    let style = "{prefix:>8} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left";
    let bar = ProgressBar::new(count).with_prefix(what);
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

async fn reset_password(config: &Config, email: &str) -> Result<()> {
    let email = Email::parse(email).map_err(|invalid| anyhow!("the e-mail address {invalid}"))?;
    let password = if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password("New password: ")?;
        let again = rpassword::prompt_password("Again: ")?;
        if password != again {
            return Err(anyhow!("the two passwords differ"));
        }
        password
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    let password =
        Password::parse(&password).map_err(|invalid| anyhow!("the password {invalid}"))?;
    services(config)
        .await?
        .users
        .reset_password(&email, password)
        .await?;
    println!("the password of {email} is set");
    Ok(())
}

async fn revoke_tokens(config: &Config, email: Option<&str>) -> Result<()> {
    let Some(email) = email else {
        let database = Database::new(&config.database);
        database.check_migrated().await?;
        database.revoke_all_tokens().await?;
        println!("every token is revoked");
        return Ok(());
    };
    let email = Email::parse(email).map_err(|invalid| anyhow!("the e-mail address {invalid}"))?;
    services(config).await?.users.revoke_tokens(&email).await?;
    println!("every token of {email} is revoked");
    Ok(())
}

async fn promote(config: &Config, email: &str) -> Result<()> {
    let email = Email::parse(email).map_err(|invalid| anyhow!("the e-mail address {invalid}"))?;
    services(config).await?.users.promote(&email).await?;
    println!("{email} is an admin");
    Ok(())
}

/// The services without a cache of their own, for commands.
async fn services(config: &Config) -> Result<Services> {
    let database = Database::new(&config.database);
    database.check_migrated().await?;
    let tasks = Tasks::on_current_runtime();
    let cache = Cache::new(
        Arc::new(NullBackend::new()),
        Arc::new(SystemClock::new()),
        tasks,
    );
    Ok(Services::new(config, &database, &cache)?)
}

/// How long the running instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

async fn healthcheck(config: &Config, live: bool) -> Result<()> {
    let (path, state) = if live {
        ("/health/live", "live")
    } else {
        ("/health/ready", "ready")
    };
    let host = config.server.host.trim_matches(['[', ']']);
    // Whoever listens on every address listens on loopback too.
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1",
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "::1",
        _ => host,
    };
    let port = config.server.port;
    let asked = tokio::time::timeout(PATIENCE, get(host, port, path));
    let (status, body) = match asked.await {
        Ok(answer) => answer.with_context(|| format!("asking {host}:{port}"))?,
        Err(_) => return Err(anyhow!("{host}:{port} did not answer within {PATIENCE:?}")),
    };
    if status == 200 {
        println!("{state}");
        return Ok(());
    }
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let reason = body["reason"].as_str().unwrap_or("no reason given");
    Err(anyhow!("not {state}: status {status}: {reason}"))
}

/// One request, by hand: a whole HTTP client would be the largest dependency of this program.
async fn get(host: &str, port: u16, path: &str) -> Result<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect((host, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.context("the answer is no HTTP")?, body.to_owned()))
}
