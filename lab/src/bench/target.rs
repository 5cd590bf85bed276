//! A server that is asked, ours or another's.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Uri};
use serde_json::Value;

use super::load::Site;
use super::meter::Meter;
use super::wire::Connection;
use super::workload::{Choice, Row, Script, Workload};
use crate::traffic::{Client, Credentials, log_in};

/// How many users a page has by which rows are looked for.
const PAGE: usize = 100;

/// Where a server is, and who may do anything there.
#[derive(Clone)]
pub(super) struct Whereabouts {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// What clients call it by.
    pub(super) host: String,
    pub(super) admin: Credentials,
    /// What the addresses of the users begin with who are to be asked for.
    pub(super) users: &'static str,
    /// Its Redis, if that is ours.
    pub(super) redis: Option<u32>,
}

/// A server that is asked.
pub(super) struct Target {
    pub(super) site: Site,
    pub(super) meter: Meter,
    whereabouts: Whereabouts,
    rows: Arc<[Row]>,
    admin: Client,
}

impl Target {
    /// Logs in, and finds so many users to ask for.
    pub(super) async fn meet(whereabouts: Whereabouts, rows: u32) -> Result<Self> {
        let Whereabouts { address, redis, .. } = whereabouts;
        let token = log_in(address, &whereabouts.admin).await;
        let token = token.context("logging in")?;
        let mut admin = Client::new(address, Some(token.clone()));
        let users = users(&mut admin, &whereabouts, rows as usize).await?;
        let there = users.len();
        ensure!(
            there >= rows as usize,
            "there are {there} users besides the admin: --rows {there}, or more users (alacena seed)"
        );
        let rows: Arc<[Row]> = users.into();
        let authorization = token.to_str().context("the token")?;
        let script = Script::new(Arc::clone(&rows), &whereabouts.host, authorization);
        let meter = Meter::new(address, redis).await?;
        Ok(Self {
            site: Site {
                address,
                script: Arc::new(script),
                clocks: meter.clocks(),
            },
            meter,
            whereabouts,
            rows,
            admin,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.whereabouts.name
    }

    /// Logs in anew: tokens last for a while.
    pub(super) async fn log_in(&mut self) -> Result<()> {
        let Whereabouts {
            address,
            host,
            admin,
            ..
        } = &self.whereabouts;
        let token = log_in(*address, admin).await.context("logging in")?;
        let authorization = token.to_str().context("the token")?;
        let script = Script::new(Arc::clone(&self.rows), host, authorization);
        self.site.script = Arc::new(script);
        self.admin = Client::new(*address, Some(token));
        Ok(())
    }

    /// Has nothing cached.
    pub(super) async fn clear(&mut self) -> Result<()> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = Uri::from_static("/cache/clear?pattern=*");
        let cleared = self.admin.ask(request).await.context("clearing")?;
        ensure!(
            cleared.status.is_success(),
            "DELETE /cache/clear: {}",
            cleared.complaint()
        );
        Ok(())
    }

    /// Finds out whether a workload can be put to it.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn try_out(&mut self, workload: Workload, choice: &Choice) -> Result<()> {
        if workload.begins_empty() {
            self.clear().await?;
        }
        let ask = choice.stream(workload, 0, 0).ask();
        let mut request = Vec::new();
        self.site.script.write(ask, &mut request);
        let mut connection = Connection::open(self.site.address).await?;
        match connection.ask(&request).await?.status {
            200..300 => Ok(()),
            status => bail!("answered {status}"),
        }
    }
}

/// The first so many users but the admin, as far as there are any.
async fn users(admin: &mut Client, of: &Whereabouts, most: usize) -> Result<Vec<Row>> {
    let mut users = Vec::new();
    let mut skip = 0;
    while users.len() < most {
        let page = page(admin, skip).await?;
        let page = page
            .as_array()
            .context("a list of users is no JSON array")?;
        if page.is_empty() {
            break;
        }
        // A server may have smaller pages than it was asked for.
        skip += page.len();
        for user in page {
            let id = user["id"].as_i64();
            let id = id.context("a user has no id that is a number")?;
            let email = user["email"].as_str().context("a user has no email")?;
            if email.starts_with(of.users) && !email.eq_ignore_ascii_case(&of.admin.email) {
                users.push(Row {
                    id,
                    email: email.to_owned(),
                });
            }
        }
    }
    users.truncate(most);
    Ok(users)
}

async fn page(admin: &mut Client, skip: usize) -> Result<Value> {
    let mut request: Request<Full<Bytes>> = Request::default();
    *request.uri_mut() = Uri::try_from(format!("/users?skip={skip}&limit={PAGE}"))?;
    let answer = admin.ask(request).await.context("listing users")?;
    ensure!(
        answer.status.is_success(),
        "GET /users: {}",
        answer.complaint()
    );
    serde_json::from_slice(&answer.body).context("a list of users")
}
