//! A service that somebody else runs: where it is, and who may do anything there.

use std::net::{SocketAddr, ToSocketAddrs};

use clap::Args;

use crate::traffic::Credentials;

/// Who may do anything at targets.
#[derive(Args, Clone, Debug)]
pub struct AdminOptions {
    /// An admin of the target
    #[arg(
        long,
        value_name = "EMAIL",
        default_value = "admin@example.com",
        requires = "target"
    )]
    pub email: String,

    /// Their password
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "ALACENA_LAB_PASSWORD",
        hide_env_values = true,
        default_value = "admin123",
        hide_default_value = true
    )]
    pub password: String,
}

impl AdminOptions {
    /// The admin.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            email: self.email.clone(),
            password: self.password.clone(),
        }
    }
}

/// The address that a URL names.
///
/// # Errors
/// It has another form, or nobody knows the host.
pub(crate) fn address(url: &str) -> Result<SocketAddr, String> {
    host_and_address(url).map(|(_, address)| address)
}

/// The host and port that a URL names, and their address.
///
/// # Errors
/// It has another form, or nobody knows the host.
pub(crate) fn host_and_address(url: &str) -> Result<(&str, SocketAddr), String> {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    let found = host.and_then(|host| {
        let addresses: Vec<SocketAddr> = host.to_socket_addrs().ok()?.collect();
        // `localhost` is two addresses, and most servers listen at the older one.
        let older = addresses.iter().find(|address| address.is_ipv4());
        Some((host, *older.or(addresses.first())?))
    });
    found.ok_or_else(|| "is not of the form http://HOST:PORT, or nobody knows the host".to_owned())
}
