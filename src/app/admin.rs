use anyhow::{Context, Result, anyhow};
use secrecy::ExposeSecret;

use crate::config::{Config, DEVELOPMENT_ADMIN};
use crate::domain::{Email, Password};
use crate::service::Services;

/// Makes the administrator that the configuration names, while there is no active administrator.
/// Where the secrets are not public, refuses a database whose development administrator still has
/// the public password.
pub(super) async fn ensure_admin(config: &Config, services: &Services) -> Result<()> {
    let Services { users, .. } = services;
    if !config.has_public_secrets() {
        let (email, password) = DEVELOPMENT_ADMIN;
        let email = Email::parse(email).map_err(|invalid| anyhow!("{email}: {invalid}"))?;
        let is_open = users
            .has_password(&email, password)
            .await
            .context("looking for admins")?;
        anyhow::ensure!(
            !is_open,
            "the database has the development admin with the public password; give it another with \
             `alacena admin reset-password {email}`, or choose another database.url"
        );
    }
    if !config.auth.admin_email.is_empty() {
        let email = Email::parse(&config.auth.admin_email)
            .map_err(|invalid| anyhow!("auth.admin_email {invalid}"))?;
        let password = Password::parse(config.auth.admin_password.expose_secret())
            .map_err(|invalid| anyhow!("auth.admin_password {invalid}"))?;
        let made = users.ensure_admin(email, password).await;
        if made.context("making the first administrator")? {
            log::info!("created the first administrator from auth.admin_email");
        }
    }
    if !users.has_admin().await.context("looking for admins")? {
        log::warn!(
            "no active administrator: set auth.admin_email to an address without an account and \
             auth.admin_password, or run `alacena admin promote EMAIL`"
        );
    }
    Ok(())
}
