//! Ids, addresses and URLs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An EC2 instance id, `i-` and hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

impl InstanceId {
    /// Takes any text: ids that come from AWS are not checked again.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The instance that a member's name stands for; None where the name is not an instance id.
    pub fn from_member_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("i-")?;
        let shape = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        shape.then(|| Self(name.to_owned()))
    }

    /// The instance that a host is the resource name of, such as `i-0123456789abcdef0.eu-west-1.compute.internal`; None
    /// for any other host (EC2 user guide, "EC2 instance hostnames", read 2026-11-26).
    pub fn from_resource_name(host: &str) -> Option<Self> {
        let (label, domain) = host.split_once('.')?;
        let is_ec2s = domain == "ec2.internal" || domain.ends_with(".compute.internal");
        Self::from_member_name(label).filter(|_| is_ec2s)
    }

    /// The id as AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A 64-bit etcd id, written in lower-case hexadecimal as etcdctl does.
///
/// JSON numbers lose digits above 2^53, so it is a string there too.
macro_rules! etcd_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = std::num::ParseIntError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                u64::from_str_radix(&text, 16).map(Self)
            }
        }
    };
}

etcd_id!(
    /// The id of an entry in etcd's member list.
    MemberId
);

etcd_id!(
    /// The id of an etcd cluster.
    ClusterId
);

impl ClusterId {
    /// Whether a text that people may have written, such as the value of the group's tag, means this cluster:
    /// hexadecimal as etcdctl's table and etcd's log have it, in any case, with or without `0x` and leading zeros, or
    /// decimal as `etcdctl -w json` has it. A text that is both means both: no two ids of one group are that alike.
    pub fn is_meant_by(self, text: &str) -> bool {
        let text = text.trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let hexadecimal = u64::from_str_radix(digits.unwrap_or(text), 16);
        let decimal = text.parse::<u64>();
        hexadecimal == Ok(self.0) || decimal == Ok(self.0)
    }
}

/// A peer or client URL of etcd: scheme, host and port, and nothing else.
///
/// Two spellings of one URL are equal, as etcd compares them after parsing (F29).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MemberUrl {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl MemberUrl {
    /// Joins the parts; the host is a name or an address without brackets.
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Self {
        Self { scheme, host: host.to_ascii_lowercase(), port }
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as an address; None where it is a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The same with an address of the host in its name's place.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self { host: address.to_string(), ..self.clone() }
    }

    /// The port, also where it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Plain or TLS.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port as a socket address is written, an IPv6 address in brackets (F30).
    pub fn authority(&self) -> String {
        match self.address() {
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Some(IpAddr::V4(_)) | None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl From<MemberUrl> for String {
    fn from(url: MemberUrl) -> Self {
        url.to_string()
    }
}

impl TryFrom<String> for MemberUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for MemberUrl {
    type Err = String;

    /// Takes what etcd takes: `http` or `https`, a host and a port (client/pkg/types/urls.go, v3.7.1).
    fn from_str(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).map_err(|e| format!("'{text}' is not a URL: {e}"))?;
        let scheme = url.scheme().parse().map_err(|e: String| format!("'{text}': {e}"))?;
        let host = url.host().ok_or_else(|| format!("'{text}' has no host"))?;
        let host = match host {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        // Go allows more in a host than an initial cluster can carry.
        if let Some(c) = host.chars().find(|c| !in_initial_cluster(*c)) {
            return Err(format!("'{text}' holds {c:?}, which no initial cluster can carry"));
        }
        let port = url.port_or_known_default().ok_or_else(|| format!("'{text}' has no port"))?;
        Ok(Self::new(scheme, &host, port))
    }
}

/// Whether a bare value of an environment file may hold this character. systemd takes quotes and backslashes away and
/// ends a bare value's trailing spaces, docker keeps all of them (systemd.exec(5), EnvironmentFile=; E10).
pub fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '`' | '\\')
}

/// Whether a name or a host in an initial cluster may hold this character: etcd splits it at commas and equals signs.
pub fn in_initial_cluster(c: char) -> bool {
    is_bare(c) && !matches!(c, ',' | '=')
}

/// How a port is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl FromStr for Scheme {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            other => Err(format!("scheme '{other}' is neither http nor https")),
        }
    }
}

/// Where an instance is reached: its primary private addresses and name (F30), None where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The primary private IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The first IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The private DNS name.
    pub dns_name: Option<String>,
}

impl Addresses {
    /// The address to listen on.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ipv4.map(IpAddr::V4).or(self.ipv6.map(IpAddr::V6))
    }

    /// Whether a URL leads to this host, in whichever form it is written (F29).
    pub fn hold(&self, url: &MemberUrl) -> bool {
        match url.address() {
            Some(IpAddr::V4(address)) => self.ipv4 == Some(address),
            Some(IpAddr::V6(address)) => self.ipv6 == Some(address),
            None => self.dns_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(url.host())),
        }
    }
}
