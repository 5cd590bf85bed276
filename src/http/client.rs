use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use ipnet::IpNet;

/// The proxies whose word on a client's address counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

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

    /// A proxy writes one of the two headers and passes the other on as the client wrote it. Where
    /// both are there and disagree, one of them is made up, and neither is believed.
    fn resolve(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let named = [forwarded(headers), x_forwarded_for(headers)];
        let mut clients = named
            .into_iter()
            .flatten()
            .map(|hops| self.last_untrusted(peer, &hops));
        match (clients.next(), clients.next()) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) => client,
            (None, _) => peer,
        }
    }

    fn last_untrusted(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut client = peer;
        for hop in hops.iter().rev() {
            if !self.trusts(client) {
                break;
            }
            match hop {
                Some(address) => client = *address,
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

/// The hops that `Forwarded` names (RFC 7239), the nearest last.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    Some(
        joined(headers, header::FORWARDED)?
            .split(',')
            .map(forwarded_for)
            .collect(),
    )
}

/// The hops that `X-Forwarded-For` names, the nearest last.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    Some(
        joined(headers, header::X_FORWARDED_FOR)?
            .split(',')
            .map(node)
            .collect(),
    )
}

/// The values of a header as one list, if there are any.
fn joined(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .map(|v| v.to_str().unwrap_or("?"))
        .collect();
    (!values.is_empty()).then(|| values.join(","))
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
    fn a_header_that_contradicts_the_other_makes_both_worthless() {
        let both = [("forwarded", "for=5.6.7.8"), ("x-forwarded-for", "1.2.3.4")];
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &both), "10.0.0.1");
        let agreeing = [("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "1.2.3.4")];
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &agreeing), "1.2.3.4");
    }

    #[test]
    fn hops_may_hold_ports_and_brackets() {
        let v6 = [("forwarded", "for=\"[2001:db8::7]:4711\";proto=https")];
        assert_eq!(resolve(&["10.0.0.0/8"], "10.0.0.1", &v6), "2001:db8::7");
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
