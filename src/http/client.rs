use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use ipnet::IpNet;

/// The proxies whose word on a client's address counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

const X_FORWARDED_FOR: &str = "x-forwarded-for";

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The client's address: the peer's, or behind trusted proxies the last one that none of them
    /// vouches for. Anybody can write a header; only what a trusted proxy appended is believed.
    pub(super) fn client_of(&self, request: &HttpRequest) -> IpAddr {
        let peer = request
            .peer_addr()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
                peer.ip().to_canonical()
            });
        self.resolve(peer, request.headers())
    }

    fn resolve(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        for hop in forwarded(headers).into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            match hop {
                Some(address) => client = address,
                // An obfuscated or unreadable hop: nothing before it can be believed.
                None => break,
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The hops that `Forwarded` (RFC 7239) or else `X-Forwarded-For` names, the nearest last.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let elements = |name: header::HeaderName| {
        let values: Vec<&str> = headers
            .get_all(name)
            .filter_map(|v| v.to_str().ok())
            .collect();
        values.join(",")
    };
    let standard = elements(header::FORWARDED);
    if !standard.trim().is_empty() {
        return standard.split(',').map(forwarded_for).collect();
    }
    let legacy = elements(header::HeaderName::from_static(X_FORWARDED_FOR));
    if legacy.trim().is_empty() {
        return Vec::new();
    }
    legacy.split(',').map(node).collect()
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let parameters = element.split(';').filter_map(|pair| pair.split_once('='));
    parameters
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
        .find_map(|(_, value)| node(value))
}

/// An address, perhaps with a port, in quotes or in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let address = match text.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?.parse().ok(),
        None => text
            .parse()
            .ok()
            .or_else(|| text.split_once(':')?.0.parse().ok()),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(trusted: &[&str], peer: &str, headers: &[(&'static str, &str)]) -> String {
        let networks = trusted
            .iter()
            .map(|text| text.parse().expect("a network"))
            .collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = header::HeaderName::from_static(name);
            map.append(name, value.parse().expect("a header value"));
        }
        let peer = peer.parse().expect("an address");
        TrustedProxies::new(networks)
            .resolve(peer, &map)
            .to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let spoofed = [("x-forwarded-for", "1.2.3.4")];
        assert_eq!(resolve(&[], "9.9.9.9", &spoofed), "9.9.9.9");
        assert_eq!(resolve(&["10.0.0.0/8"], "9.9.9.9", &spoofed), "9.9.9.9");
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &spoofed), "1.2.3.4");
    }

    #[test]
    fn what_the_client_itself_wrote_does_not_count() {
        let chain = [("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2")];
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &chain), "1.2.3.4");
    }

    #[test]
    fn the_standard_header_wins_and_may_hold_ports_and_brackets() {
        let both = [
            ("forwarded", "for=\"[2001:db8::7]:4711\";proto=https"),
            ("x-forwarded-for", "1.2.3.4"),
        ];
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &both), "2001:db8::7");
        let port = [("forwarded", "For=192.0.2.4:8080")];
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &port), "192.0.2.4");
    }

    #[test]
    fn a_hop_that_cannot_be_read_ends_the_search() {
        let obfuscated = [("forwarded", "for=1.2.3.4, for=_hidden")];
        assert_eq!(
            resolve(&["10.0.0.0/8"], "10.0.0.1", &obfuscated),
            "10.0.0.1"
        );
    }
}
