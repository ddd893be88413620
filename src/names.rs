//! Names to addresses, for everything that is asked over the network.
//!
//! A lookup outlives the call that began it, and what it finds serves the calls after it for a while: a resolver that
//! takes longer than a call may costs the first pass, not the node. Next: `aws.rs`, `peer.rs`, `etcd.rs`.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

/// AWS's names live for 60 s, and a private DNS name goes with its address.
const KEPT: Duration = Duration::from_secs(60);
/// A name that was not there may be there in the next pass. Whoever waited for it hears of the failure all the same.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// The resolver of every client here.
#[derive(Debug, Clone, Copy)]
pub struct Names;

/// The addresses of a host, in the order in which they are to be tried: IPv4 first, which every etcd that this program
/// starts listens on (F30). An IPv6 address of the VPC's DNS64 may lead nowhere, and to find that out takes 0.3 s.
///
/// # Errors
/// What the system's resolver says.
pub async fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);
    KNOWN.find(host, ask_system).await
}

async fn ask_system(host: String) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses)
}

impl ResolveDns for Names {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { lookup(name).await.map_err(ResolveDnsError::new) })
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port of the URL counts, for any that stands here.
            let found = lookup(name.as_str()).await?.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(found) as Addrs)
        })
    }
}

/// What the lookups under way and those of the last minute have found.
#[derive(Default)]
struct Known(Mutex<HashMap<String, watch::Receiver<Option<Found>>>>);

struct Found {
    at: Instant,
    /// Shared by all who wait, hence the error in parts.
    addresses: Result<Vec<IpAddr>, (io::ErrorKind, Arc<str>)>,
}

impl Found {
    fn is_good(&self) -> bool {
        self.at.elapsed() < if self.addresses.is_ok() { KEPT } else { FAILURE_KEPT }
    }
}

impl Known {
    async fn find<F>(&self, host: &str, ask: impl FnOnce(String) -> F) -> io::Result<Vec<IpAddr>>
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        let mut lookup = self.begin(host, ask);
        let found = lookup.wait_for(Option::is_some).await.map_err(io::Error::other)?;
        match &found.as_ref().expect("that was waited for").addresses {
            Ok(addresses) => Ok(addresses.clone()),
            Err((kind, why)) => Err(io::Error::new(*kind, why.as_ref())),
        }
    }

    /// The lookup of this host that is under way or was just now, else a new one.
    fn begin<F>(&self, host: &str, ask: impl FnOnce(String) -> F) -> watch::Receiver<Option<Found>>
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        let mut lookups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = lookups.get(host)
            && lookup.borrow().as_ref().is_none_or(Found::is_good)
        {
            return lookup.clone();
        }
        // A member list can name any number of hosts (F111).
        lookups.retain(|_, lookup| lookup.borrow().as_ref().is_none_or(Found::is_good));
        let (tell, lookup) = watch::channel(None);
        let asked = ask(host.to_owned());
        tokio::spawn(async move {
            let addresses = asked.await.map_err(|error| (error.kind(), error.to_string().into()));
            tell.send_replace(Some(Found { at: Instant::now(), addresses }));
        });
        lookups.insert(host.to_owned(), lookup.clone());
        lookup
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const HOST: &str = "autoscaling.eu-west-1.amazonaws.com";

    #[tokio::test]
    async fn f113_a_lookup_outlives_the_call_that_gave_up_on_it() {
        let known = Known::default();
        let (answer, answered) = oneshot::channel();
        let slow = |_| async { answered.await.map_err(io::Error::other) };
        let given_up = tokio::time::timeout(Duration::ZERO, known.find(HOST, slow)).await;
        assert!(given_up.is_err(), "{given_up:?}");

        let address = IpAddr::from([10, 0, 0, 1]);
        answer.send(vec![address]).expect("the lookup still waits");
        let never = |_| async { unreachable!("it is asked once") };
        assert_eq!(known.find(HOST, never).await.expect("it is known"), [address]);
        assert_eq!(known.find(HOST, never).await.expect("it is kept"), [address]);
    }

    #[tokio::test]
    async fn f113_who_waits_hears_of_a_failure_in_the_resolvers_words() {
        let known = Known::default();
        let fails = |_| async { Err(io::Error::other("failed to lookup address information: Try again")) };
        let error = known.find(HOST, fails).await.expect_err("it failed");
        assert_eq!(error.to_string(), "failed to lookup address information: Try again");
    }
}
