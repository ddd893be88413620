//! The loop: observe, decide, apply, again; then write.
//!
//! Owns the only deadline, the only retry and the only log of a failure. Every rule is in `decide.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::apply::{Applied, apply};
use crate::cli::{Options, WhichEtcd};
use crate::decide::{decide, remember, statement};
use crate::disk;
use crate::environment;
use crate::founder::Listener;
use crate::model::{
    Action, Before, Blind, BlindKind, ClusterState, Decision, Identity, MemberUrl, Observation, OwnData, Policy,
    Reason, Role, Scheme, Seen, Start, Statement,
};
use crate::observe::{Freshness, Observer, Own, OwnEtcd, Places};
use crate::reason::Exit;
use crate::report::{other_scheme, tag_fault};
use crate::tls::{self, Tls};
use crate::write;

/// Two looks at the founders' port are this far apart, so that a change is seen soon; nothing of AWS is asked.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// After a minute of waiting nobody minds a second.
const LOOK_AGAIN_LATE: Duration = Duration::from_secs(1);

/// AWS is asked again after this long at first, twice as long each time, and at most after the last: seven nodes that
/// wait for hours then make four calls a second at most, well below EC2's refill of 20 a second.
const ASK_AWS_FIRST: Duration = Duration::from_millis(100);
const ASK_AWS_LAST: Duration = Duration::from_secs(5);
/// While AWS throttles, each pause is four times the one before it, up to this: its bucket is that of the whole account
/// and region, and other nodes repair their cluster with what is left in it (F66).
const ASK_AWS_THROTTLED: Duration = Duration::from_secs(60);

/// A change that etcd refuses is asked for again after this long at first, a quarter longer each time, and at most after
/// the last. A new leader refuses every change for some five seconds: twice as long each time could double them.
const ASK_ETCD_FIRST: Duration = Duration::from_millis(500);
const ASK_ETCD_LAST: Duration = Duration::from_secs(5);

/// The timer of a consumer is its retry: a fleet of them must not turn an outage of etcd into one of EC2's API (F104).
const LOOKS_OF_A_CONSUMER: u32 = 2;

/// What depends on the tag, for the log.
pub const UNTAGGED: &str = "without the right tag a group that is replaced as a whole, or loses its disks, gets a second \
     and empty cluster";

/// What is read and checked before anything is asked: the certificates.
pub struct Setup {
    pub options: Options,
    /// None on a port of plain HTTP, and where there is trouble.
    pub peer_tls: Option<Arc<Tls>>,
    pub client_tls: Option<Arc<Tls>>,
    /// Why the certificates cannot be used; etcd may well be able to (F103). Nobody answers over TLS then.
    pub trouble: Option<String>,
}

/// A saved decision: all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub policy: Policy,
    pub observation: Observation,
}

impl Setup {
    /// Reads the certificates of the ports that use TLS.
    ///
    /// # Errors
    /// A sentence that names the file, unless this is a node with data: it starts in spite of it (F51).
    pub fn new(options: Options) -> Result<Self, String> {
        let files = |ca: &Option<PathBuf>, cert: &Option<PathBuf>, key: &Option<PathBuf>| tls::Files {
            ca: ca.clone(),
            identity: cert.clone().zip(key.clone()),
        };
        let load = |scheme, files| match scheme {
            Scheme::Http => Ok(None),
            Scheme::Https => tls::load(&files).map(|tls| Some(Arc::new(tls))),
        };
        let t = &options.tls;
        let peer = files(&t.peer_trusted_ca_file, &t.peer_cert_file, &t.peer_key_file);
        let client = files(&t.trusted_ca_file, &t.cert_file, &t.key_file);
        let peer_tls = load(options.etcd_peer_scheme, peer);
        let client_tls = load(options.etcd_client_schema, client);
        match (peer_tls, client_tls) {
            (Ok(peer_tls), Ok(client_tls)) => Ok(Self { options, peer_tls, client_tls, trouble: None }),
            (Err(why), _) | (_, Err(why)) if has_data(&options) => {
                Ok(Self { options, peer_tls: None, client_tls: None, trouble: Some(why) })
            }
            (Err(why), _) | (_, Err(why)) => Err(why),
        }
    }

    /// Where and how this run looks.
    pub fn observer(&self, own: Own) -> Observer {
        let places = Places {
            policy: self.options.policy(),
            group_name: self.options.scaling_group_name.clone(),
            data_dir: self.options.data_dir.clone(),
            wal_dir: self.options.wal_dir.clone(),
            etcd: match self.options.etcd_version {
                WhichEtcd::Auto => OwnEtcd::Program(self.options.etcd_binary.clone()),
                WhichEtcd::Version(version) => OwnEtcd::Told(Seen::Yes(version)),
                WhichEtcd::Unknown => {
                    let why = "--etcd-version is unknown".to_owned();
                    OwnEtcd::Told(Seen::No(Blind { kind: BlindKind::Absent, why }))
                }
            },
            saved_identity: read_identity(&self.options.state_dir),
            own,
        };
        Observer::new(places, self.peer_tls.as_deref(), self.client_tls.clone())
    }

    /// A certificate that the others will refuse must keep a new node out before it is added (F80).
    ///
    /// # Errors
    /// Why they will refuse it.
    pub fn check_certificates(&self, observation: &Observation, decision: &Decision) -> Result<(), String> {
        let policy = self.options.policy();
        let may_join = policy.role == Role::Member && !matches!(decision.action, Action::Refuse);
        if let Some(why) = self.trouble.as_ref().filter(|_| may_join) {
            return Err(why.clone());
        }
        let Some(me) = observation.me.ok().filter(|_| may_join) else { return Ok(()) };
        let peer = (&self.peer_tls, policy.peer_url(&me.addresses));
        let client = (&self.client_tls, policy.client_url(&me.addresses));
        for (tls, url) in [peer, client] {
            let (Some(tls), Some(url)) = (tls, url) else { continue };
            tls.check_own_certificate(url.host(), observation.at)
                .map_err(|why| format!("the other nodes will refuse the own certificate for {url}: {why}"))?;
        }
        Ok(())
    }

    /// Where the observation that led to the last decision is kept, beside the environment file.
    pub fn record_file(&self) -> PathBuf {
        self.options.environment_file.with_extension("observation.json")
    }
}

/// Whether this node is a member with data of its own.
fn has_data(options: &Options) -> bool {
    let own = || disk::read_own_data(&options.data_dir, options.wal_dir.as_deref());
    !options.proxy_mode && matches!(own(), OwnData::Log { .. })
}

/// Does the main job, or the consumer's.
pub async fn run(setup: &Setup) -> Exit {
    // A file that cannot be written must be found before anything is sent to etcd.
    if let Err(e) = write::check_writable(&setup.options.environment_file) {
        return fail(&format!("write the environment file {}: {e}", setup.options.environment_file.display()));
    }
    if setup.peer_tls.as_ref().is_some_and(|tls| tls.server.is_none()) && !setup.options.proxy_mode {
        warn!("without --peer-cert-file no other founder can ask this node, proceeding anyway");
    }
    if let Some(why) = setup.options.too_short_a_deadline() {
        warn!("{why}, proceeding anyway");
    }
    let mut run = Run::new(setup);
    loop {
        let Some((observation, decision)) = run.look().await else { return run.give_up() };
        match run.carry_out(&observation, &decision).await {
            Next::LookAgain => {}
            Next::Pause => run.pause(&decision.reason).await,
            Next::End(exit) => return exit,
        }
        let (tagged, untaggable) = (run.tagged.clone(), run.untaggable);
        run.before = Some(Before { tagged, untaggable, refusals: run.refusals, ..remember(&observation, &run.policy) });
    }
}

enum Next {
    LookAgain,
    Pause,
    End(Exit),
}

struct Run<'a> {
    setup: &'a Setup,
    policy: Policy,
    observer: Observer,
    started: Instant,
    before: Option<Before>,
    listener: Option<Listener>,
    said: Option<Statement>,
    last: Option<Decision>,
    /// See [`Before`].
    tagged: BTreeMap<String, String>,
    untaggable: bool,
    /// Since when the last decision has its reason.
    reason_since: Instant,
    /// Why the peer port could not be opened: etcd could not either, so nothing is started or added meanwhile.
    port_trouble: Option<String>,
    fresh: Freshness,
    ask_aws_at: Instant,
    ask_aws_after: Duration,
    /// Whether AWS's last reply was that it was asked too often.
    throttled: bool,
    /// How many passes got beyond the metadata.
    looks: u32,
    /// What etcd said to the last change, if it refused it, and when it may be asked again.
    refusal: Option<String>,
    refusals: u32,
    ask_etcd_at: Instant,
    ask_etcd_after: Duration,
}

impl<'a> Run<'a> {
    fn new(setup: &'a Setup) -> Self {
        Self {
            setup,
            policy: setup.options.policy(),
            observer: setup.observer(Own::LeftOut),
            started: Instant::now(),
            before: None,
            listener: None,
            said: None,
            last: None,
            tagged: BTreeMap::new(),
            untaggable: false,
            reason_since: Instant::now(),
            port_trouble: None,
            fresh: Freshness::Fresh,
            ask_aws_at: Instant::now(),
            ask_aws_after: ASK_AWS_FIRST,
            throttled: false,
            looks: 0,
            refusal: None,
            refusals: 0,
            ask_etcd_at: Instant::now(),
            ask_etcd_after: ASK_ETCD_FIRST,
        }
    }

    /// One pass; None when the deadline cuts it short or has passed.
    async fn look(&mut self) -> Option<(Observation, Decision)> {
        // One that the clock cannot hold is none.
        let deadline = self.setup.options.deadline.0.and_then(|deadline| self.started.checked_add(deadline));
        // A pass on AWS's last reply may have nothing to wait for, and a timeout cuts only what waits.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return None;
        }
        let began = Instant::now();
        let pass = self.observer.observe(self.before.take(), self.fresh, self.said.as_ref());
        let observation = match deadline {
            None => pass.await,
            Some(deadline) => tokio::time::timeout_at(deadline, pass).await.ok()?,
        };
        self.looks += u32::from(observation.me.ok().is_some());
        if self.fresh == Freshness::Fresh {
            self.pace(began, &observation);
        }
        let decision = decide(&observation, &self.policy);
        self.report(&observation, &decision);
        self.speak(&observation, &decision.reason).await;
        Some((observation, decision))
    }

    /// When AWS is asked next, after it was asked.
    fn pace(&mut self, asked: Instant, observation: &Observation) {
        self.throttled = is_throttled(observation);
        let (factor, most) = if self.throttled { (4, ASK_AWS_THROTTLED) } else { (2, ASK_AWS_LAST) };
        let after = self.ask_aws_after.min(most);
        self.ask_aws_at = asked + after / 2 + jitter(after / 2);
        self.ask_aws_after = (after * factor).min(most);
    }

    async fn carry_out(&mut self, observation: &Observation, decision: &Decision) -> Next {
        // Before any waiting too: the others refuse a bad certificate, and would look silent for ever.
        if let Err(why) = self.setup.check_certificates(observation, decision) {
            match observation.own_data {
                // A node with data starts in spite of it (F51).
                OwnData::Log { .. } => warn!("{why}, proceeding anyway"),
                OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => return Next::End(fail(&why)),
            }
        }
        match &decision.action {
            Action::Wait if self.patience_is_over(&decision.reason) || self.timer_looks_again(&decision.reason) => {
                Next::End(self.give_up())
            }
            Action::Wait => Next::Pause,
            Action::Refuse => Next::End(self.give_up()),
            Action::Follow { endpoints } => Next::End(self.follow(endpoints)),
            // Whoever holds the port may be this node's own etcd, on a data directory that was not looked at.
            Action::Start(_) | Action::Add { .. } | Action::Remove { .. } | Action::TagGroup { .. }
                if self.port_trouble.is_some() =>
            {
                Next::Pause
            }
            Action::Add { .. } | Action::Remove { .. } | Action::TagGroup { .. }
                if Instant::now() < self.ask_etcd_at =>
            {
                Next::Pause
            }
            action if self.fresh == Freshness::LastReply && needs_fresh_reply(action) => {
                self.fresh = Freshness::Fresh;
                Next::LookAgain
            }
            Action::Start(start) => self.start(observation, start).await,
            Action::Add { .. } | Action::Remove { .. } | Action::TagGroup { .. } => {
                // Nodes that saw the same at the same moment must not all ask at once (F44).
                tokio::time::sleep(jitter(Duration::from_millis(50))).await;
                self.change(decision).await
            }
            Action::SetDataAside { .. } | Action::BeginRecord | Action::Agree(_) | Action::GiveUp { .. } => {
                self.change(decision).await
            }
        }
    }

    async fn change(&mut self, decision: &Decision) -> Next {
        let options = &self.setup.options;
        let tls = self.setup.client_tls.as_deref();
        let action = &decision.action;
        let is_tag = matches!(action, Action::TagGroup { .. });
        let applied = apply(action, &mut self.observer, tls, &options.data_dir, options.wal_dir.as_deref());
        match applied.await {
            Ok(Applied::Done(what)) => {
                info!("{what}");
                self.look_after(action);
                Next::LookAgain
            }
            // A replacement must not fail for want of the tag, and founders can do with the word of all.
            Ok(Applied::Denied(why)) if is_tag => self.go_on_untagged(&why),
            Ok(Applied::Later(why)) if is_tag && self.patience_is_over(&decision.reason) => self.go_on_untagged(&why),
            Ok(Applied::Later(why)) => {
                self.refused(why);
                Next::Pause
            }
            Ok(Applied::Denied(why)) => Next::End(fail_for(&Reason::Denied { why })),
            Err(why) => Next::End(fail(&why)),
        }
    }

    fn go_on_untagged(&mut self, why: &str) -> Next {
        warn!("{why}: {UNTAGGED}; going on without it");
        self.untaggable = true;
        Next::LookAgain
    }

    /// What is new after a change: something that AWS shows, or only this disk.
    fn look_after(&mut self, action: &Action) {
        if matches!(action, Action::BeginRecord | Action::Agree(_) | Action::GiveUp { .. }) {
            self.fresh = Freshness::LastReply;
            return;
        }
        self.fresh = Freshness::Fresh;
        self.ask_aws_after = ASK_AWS_FIRST;
        (self.refusal, self.refusals, self.ask_etcd_after) = (None, 0, ASK_ETCD_FIRST);
        if let Action::TagGroup { tags, .. } = action {
            // A read that lags does not show them yet.
            self.tagged.extend(tags.clone());
        }
    }

    /// Asking again at once would have AWS asked as well each time, for every change rests on a fresh reply (F104).
    fn refused(&mut self, why: String) {
        if self.refusal.as_ref() == Some(&why) {
            debug!(why, "the change is still not taken, looking again");
        } else {
            info!(why, "the change is not taken now, looking again");
        }
        self.refusal = Some(why);
        self.refusals = self.refusals.saturating_add(1);
        self.ask_etcd_at = Instant::now() + self.ask_etcd_after;
        self.ask_etcd_after = (self.ask_etcd_after * 5 / 4).min(ASK_ETCD_LAST);
    }

    async fn start(&mut self, observation: &Observation, start: &Start) -> Next {
        if let (OwnData::Log { .. }, Some(fault)) = (&observation.own_data, tag_fault(observation)) {
            warn!("{fault}: {UNTAGGED}; proceeding anyway");
        }
        if let Some(why) = other_scheme(observation, &self.policy) {
            warn!("{why}; proceeding anyway");
        }
        self.wait_for_turn(start).await;
        let variables = environment::of_member(start, &self.setup.options);
        if let Err(exit) = self.put(&variables, write::replace) {
            return Next::End(exit);
        }
        self.save_identity(observation);
        info!(
            file = %self.setup.options.environment_file.display(),
            state = %start.state,
            initial_cluster = variables.get("ETCD_INITIAL_CLUSTER"),
            took = ?self.started.elapsed(),
            "etcd may start"
        );
        Next::End(Exit::Done)
    }

    /// Waits until a founder before this one serves. The own port stays open meanwhile: etcds that start first ask here
    /// too, and get their 404 at once.
    async fn wait_for_turn(&self, start: &Start) {
        let Some(after) = &start.after else { return };
        let waited = Instant::now();
        let served = self.observer.wait_for_turn(after).await.map(|url| url.to_string());
        debug!(served, waited = ?waited.elapsed(), "waited for an earlier founder");
    }

    fn follow(&self, endpoints: &[MemberUrl]) -> Exit {
        let options = &self.setup.options;
        let variables = environment::of_consumer(endpoints, options);
        match self.put(&variables, write::replace_if_changed) {
            Ok(changed) => {
                let file = options.environment_file.display();
                info!(%file, endpoints = endpoints.len(), ?changed, "the consumer's file is up to date");
                Exit::Done
            }
            Err(exit) => exit,
        }
    }

    /// Puts the variables into the environment file, in one of the ways of `write`.
    fn put<T>(
        &self,
        variables: &BTreeMap<String, String>,
        replace: impl FnOnce(&Path, &str, u32) -> std::io::Result<T>,
    ) -> Result<T, Exit> {
        let file = &self.setup.options.environment_file;
        let written = write::render(variables).map_err(std::io::Error::other);
        let written = written.and_then(|text| replace(file, &text, 0o644));
        written.map_err(|e| fail(&format!("write the environment file {}: {e}", file.display())))
    }

    /// While it has no data, or none that is worth an etcd, a member says so on its peer port; see `founder.rs`.
    async fn speak(&mut self, observation: &Observation, reason: &Reason) {
        let without_data = matches!(observation.own_data, OwnData::Empty | OwnData::NoLog);
        let speaks = without_data || matches!(reason, Reason::FoundersNotBack { .. });
        if self.policy.role == Role::Consumer || !speaks {
            // A node with data holds no port for etcd, so one that is taken is etcd's own affair.
            (self.listener, self.port_trouble) = (None, None);
            return;
        }
        if self.listener.is_none() {
            self.listen(observation).await;
        }
        self.said = statement(observation, &self.policy);
        if let Some(listener) = &self.listener {
            let others = observation.group.ok().map(|group| group.instances.keys().cloned().collect());
            listener.say(self.said.clone(), others.unwrap_or_default());
        }
    }

    async fn listen(&mut self, observation: &Observation) {
        let Some(address) = observation.me.ok().and_then(|me| me.addresses.ip()) else { return };
        let address = SocketAddr::new(address, self.policy.peer_port);
        let opened = match &self.setup.peer_tls {
            None => Listener::bind(address, None).await.map(Some),
            Some(tls) => match &tls.server {
                Some(server) => Listener::bind(address, Some(server.clone())).await.map(Some),
                // Nothing can be served without a certificate, but the port must be free all the same.
                None => TcpListener::bind(address).await.map(|_| None),
            },
        };
        match opened {
            Ok(listener) => {
                debug!(%address, listening = listener.is_some(), "the peer port is free");
                self.listener = listener;
                self.port_trouble = None;
            }
            Err(e) => {
                let advice = match e.kind() {
                    std::io::ErrorKind::AddrNotAvailable => {
                        "the instance's address is not on this host: a container needs the host's network"
                    }
                    _ => "stop what holds the port",
                };
                let why = format!("listen on etcd's peer address {address}: {e}: {advice}");
                if self.port_trouble.as_ref() != Some(&why) {
                    warn!("{why}, trying again");
                }
                self.port_trouble = Some(why);
            }
        }
    }

    /// Sleeps until it is worth looking again: sooner when another founder says something new.
    async fn pause(&mut self, reason: &Reason) {
        let late = self.started.elapsed() > Duration::from_secs(60);
        let look_again = if late { LOOK_AGAIN_LATE } else { LOOK_AGAIN };
        let second_read = matches!(reason, Reason::SecondRead { .. });
        let pause = if second_read { ASK_AWS_FIRST } else { look_again / 2 + jitter(look_again) };
        let news = async {
            match &self.listener {
                Some(listener) => listener.news().await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = news => true,
        };
        if (heard || second_read) && !self.throttled {
            self.ask_aws_at = self.ask_aws_at.min(Instant::now() + ASK_AWS_FIRST);
        }
        self.fresh = if Instant::now() >= self.ask_aws_at { Freshness::Fresh } else { Freshness::LastReply };
    }

    fn patience_is_over(&self, reason: &Reason) -> bool {
        reason.patience().is_some_and(|patience| self.reason_since.elapsed() >= patience)
    }

    /// Whether a consumer leaves the rest to its timer. The metadata, which are its own alone, it waits for.
    /// A first read that needs a second is not the end: the timer's next run would get no further.
    fn timer_looks_again(&self, reason: &Reason) -> bool {
        let enough = if self.throttled { 1 } else { LOOKS_OF_A_CONSUMER };
        let second_read = matches!(reason, Reason::SecondRead { .. });
        self.policy.role == Role::Consumer && self.looks >= enough && !second_read
    }

    fn give_up(&self) -> Exit {
        if let Some(why) = &self.port_trouble {
            error!("{why}");
        }
        match &self.last {
            Some(decision) => fail_for(&decision.reason),
            None => {
                error!("the deadline came before the first look was over: AWS or the metadata did not answer in time");
                Exit::Unavailable
            }
        }
    }

    /// One line a change of decision, and the observation behind it for `explain`.
    fn report(&mut self, observation: &Observation, decision: &Decision) {
        // It is looked for once there is no data: at first, or after that was set aside.
        let first = self.last.as_ref().is_none_or(|last| matches!(last.action, Action::SetDataAside { .. }));
        if let Some(Seen::No(blind)) = observation.etcd.as_ref().filter(|_| first) {
            warn!("{blind}; proceeding without knowing whether this node's etcd fits the others': see --etcd-version");
        }
        let before = self.last.replace(decision.clone());
        if before.as_ref() != Some(decision) {
            self.save_record(observation);
        }
        let code = decision.reason.code();
        let same_reason = before.as_ref().is_some_and(|before| before.reason.code() == code);
        if !same_reason {
            self.reason_since = Instant::now();
        }
        if same_reason && before.is_some_and(|before| before.action == decision.action) {
            debug!(reason = code, "{}", decision.reason);
        } else {
            info!(decision = crate::report::name(&decision.action), reason = code, "{}", decision.reason);
            if let Reason::Joining { caution: Some(caution), .. } = &decision.reason {
                warn!("{caution}; proceeding anyway");
            }
            if let (Reason::OwnDataTagged { .. }, Some(advice)) = (&decision.reason, decision.reason.advice()) {
                warn!("{advice}; proceeding anyway");
            }
        }
    }

    fn save_record(&self, observation: &Observation) {
        let record = Record { policy: self.policy.clone(), observation: observation.clone() };
        let file = self.setup.record_file();
        let text = serde_json::to_string_pretty(&record).unwrap_or_default();
        if let Err(e) = write::replace(&file, &text, 0o644) {
            warn!("save the observation {}: {e}, ignoring", file.display());
        }
    }

    fn save_identity(&self, observation: &Observation) {
        let Seen::Yes(me) = &observation.me else { return };
        let file = identity_file(&self.setup.options.state_dir);
        let text = serde_json::to_string_pretty(me).unwrap_or_default();
        if let Err(e) = write::replace_if_changed(&file, &text, 0o644) {
            warn!("save the identity {}: {e}, ignoring", file.display());
        }
    }
}

fn is_throttled(observation: &Observation) -> bool {
    let blinds = [observation.group.blind(), observation.ec2.blind()];
    blinds.into_iter().flatten().any(|blind| blind.kind == BlindKind::Throttled)
}

/// Whether an action rests on what AWS says of this very moment. A node with data starts without (F51).
fn needs_fresh_reply(action: &Action) -> bool {
    match action {
        Action::Add { .. } | Action::Remove { .. } | Action::Agree(_) => true,
        Action::Start(start) => start.state == ClusterState::New,
        Action::Wait | Action::Refuse | Action::Follow { .. } => false,
        // Each rests on the pass in which it was agreed, or on this disk alone.
        Action::TagGroup { .. } | Action::SetDataAside { .. } | Action::BeginRecord | Action::GiveUp { .. } => false,
    }
}

/// Logs why the program ends and what a person can do.
pub fn fail_for(reason: &Reason) -> Exit {
    match reason.advice() {
        Some(advice) => error!(reason = reason.code(), "{reason}: {advice}"),
        None => error!(reason = reason.code(), "{reason}"),
    }
    reason.exit()
}

fn fail(why: &str) -> Exit {
    error!("{why}");
    Exit::Person
}

fn identity_file(state_dir: &Path) -> PathBuf {
    state_dir.join("identity.json")
}

fn read_identity(state_dir: &Path) -> Option<Identity> {
    let text = std::fs::read(identity_file(state_dir)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// A random part of a time.
fn jitter(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}
