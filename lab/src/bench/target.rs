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
use crate::traffic::{Answer, Client, Credentials, log_in};

/// How many users a page has by which rows are looked for.
const PAGE: usize = 100;

/// A server that is asked.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) site: Site,
    pub(super) meter: Meter,
    admin: Client,
}

impl Target {
    /// Logs in, and finds so many users to ask for.
    pub(super) async fn meet(
        name: &str,
        address: SocketAddr,
        credentials: &Credentials,
        rows: u32,
        redis: Option<u32>,
    ) -> Result<Self> {
        let token = log_in(address, credentials).await.context("logging in")?;
        let mut admin = Client::new(address, Some(token.clone()));
        let users = users(&mut admin, &credentials.email, rows as usize).await?;
        let there = users.len();
        ensure!(
            there >= rows as usize,
            "there are {there} users besides the admin: --rows {there}, or more users (alacena seed)"
        );
        let authorization = token.to_str().context("the token")?;
        let script = Script::new(users, &address.to_string(), authorization);
        Ok(Self {
            name: name.to_owned(),
            site: Site {
                address,
                script: Arc::new(script),
            },
            meter: Meter::new(address, redis).await?,
            admin,
        })
    }

    /// Forgets what is cached under keys of this form.
    pub(super) async fn clear(&mut self, pattern: &str) -> Result<()> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = format!("/cache/clear?pattern={pattern}").parse()?;
        let cleared = self.admin.ask(request).await?;
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
            self.clear("*").await?;
        }
        let ask = choice.stream(workload, 0, 0).ask();
        let mut request = Vec::new();
        self.site.script.write(ask, &mut request);
        let answer = Connection::open(self.site.address)
            .await?
            .ask(&request)
            .await?;
        match answer.status {
            200..300 => Ok(()),
            status => bail!("answered {status}"),
        }
    }
}

/// The first so many users but the admin, as far as there are any.
async fn users(admin: &mut Client, email: &str, most: usize) -> Result<Vec<Row>> {
    let mut users = Vec::new();
    let mut skip = 0;
    while users.len() < most {
        let page = page(admin, skip).await?;
        let page = page
            .as_array()
            .context("a list of users is no JSON array")?;
        for user in page {
            let id = user["id"]
                .as_i64()
                .context("a user has no id that is a number")?;
            let address = user["email"].as_str().context("a user has no email")?;
            if !address.eq_ignore_ascii_case(email) {
                users.push(Row {
                    id,
                    email: address.to_owned(),
                });
            }
        }
        if page.len() < PAGE {
            break;
        }
        skip += PAGE;
    }
    users.truncate(most);
    Ok(users)
}

async fn page(admin: &mut Client, skip: usize) -> Result<Value> {
    let mut request: Request<Full<Bytes>> = Request::default();
    *request.uri_mut() = Uri::try_from(format!("/users?skip={skip}&limit={PAGE}"))?;
    let answer: Answer = admin.ask(request).await?;
    ensure!(
        answer.status.is_success(),
        "GET /users: {}",
        answer.complaint()
    );
    serde_json::from_slice(&answer.body).context("a list of users")
}
