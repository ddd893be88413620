//! The Auto Scaling and EC2 query APIs over HTTP, for exactly the actions that the agent uses.
//!
//! Form bodies come in, XML goes out, in the shapes that aws-sdk-autoscaling 1.140 and aws-sdk-ec2
//! 1.274 write and parse (their `src/protocol_serde`). Every call is recorded. A call that AWS would
//! refuse as wrong is refused here too and recorded as a complaint, so that a test cannot pass by
//! accident; see [`Aws::complaints`]. Faults are set at run time, by action.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

use super::cloud::{ACCOUNT, Cloud, Group, Instance, InstanceId, REGION, World};
use super::http::{self, Answer, Request};
use super::lock;

/// The actions that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    DescribeAutoScalingInstances,
    DescribeAutoScalingGroups,
    CreateOrUpdateTags,
    DescribeInstances,
}

impl Action {
    pub const ALL: [Self; 4] = [
        Self::DescribeAutoScalingInstances,
        Self::DescribeAutoScalingGroups,
        Self::CreateOrUpdateTags,
        Self::DescribeInstances,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DescribeAutoScalingInstances => "DescribeAutoScalingInstances",
            Self::DescribeAutoScalingGroups => "DescribeAutoScalingGroups",
            Self::CreateOrUpdateTags => "CreateOrUpdateTags",
            Self::DescribeInstances => "DescribeInstances",
        }
    }

    /// The action of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    fn service(self) -> Service {
        match self {
            Self::DescribeInstances => Service::Ec2,
            Self::DescribeAutoScalingInstances | Self::DescribeAutoScalingGroups | Self::CreateOrUpdateTags => {
                Service::AutoScaling
            }
        }
    }
}

/// A way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// `Throttling` or `RequestLimitExceeded`.
    Throttle,
    /// `AccessDenied` or `UnauthorizedOperation`.
    Deny,
    /// HTTP 500 `InternalFailure`.
    Fail,
    /// HTTP 200 with what is no XML of AWS.
    Malform,
    /// The first half of the right answer. The SDK takes it for a shorter list and not for a fault.
    Cut,
    /// The connection is closed without an answer.
    Drop,
    /// The connection stays open without an answer.
    Hang,
    /// The answer comes, but later.
    Delay(Duration),
    /// Pages of at most so many entries, whatever was asked for.
    ShortPages(usize),
    /// Every page promises another one.
    EndlessPages,
    /// The answer is that of so long ago.
    Lag(Duration),
    /// The answer is that of this world, for ever.
    Frozen(World),
    /// These instances are left out.
    Without(BTreeSet<InstanceId>),
    /// A well-formed answer with nothing in it.
    Empty,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Often {
    Always,
    Times(u32),
    /// With this probability, call by call.
    Chance(f64),
}

/// One call as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    /// As sent, known or not.
    pub action: String,
    /// The instance whose role signed the call.
    pub caller: InstanceId,
    pub parameters: BTreeMap<String, String>,
}

/// The fake API. Clones share it; it ends with its last clone.
#[derive(Clone)]
pub struct Aws {
    state: Arc<State>,
    server: Arc<http::Server>,
}

struct State {
    cloud: Cloud,
    calls: Mutex<Vec<Call>>,
    complaints: Mutex<Vec<String>>,
    rules: Mutex<Vec<Rule>>,
}

struct Rule {
    action: Action,
    fault: Fault,
    often: Often,
}

impl Aws {
    /// Serves the APIs of `cloud` on `listener`.
    ///
    /// # Errors
    /// When the listener cannot be handed to the runtime.
    pub fn start(cloud: Cloud, listener: TcpListener) -> io::Result<Self> {
        let state =
            Arc::new(State { cloud, calls: Mutex::default(), complaints: Mutex::default(), rules: Mutex::default() });
        let for_calls = Arc::clone(&state);
        let server = http::serve(listener, move |request| {
            let state = Arc::clone(&for_calls);
            async move { state.answer(&request).await }
        })?;
        Ok(Self { state, server: Arc::new(server) })
    }

    /// The URL for both `AWS_ENDPOINT_URL_AUTO_SCALING` and `AWS_ENDPOINT_URL_EC2`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Makes one action misbehave. Faults add up; of those that replace the answer the first wins.
    pub fn inject(&self, action: Action, fault: Fault, often: Often) {
        lock(&self.state.rules).push(Rule { action, fault, often });
    }

    /// Makes every action misbehave.
    pub fn inject_everywhere(&self, fault: &Fault, often: Often) {
        for action in Action::ALL {
            self.inject(action, fault.clone(), often);
        }
    }

    /// Takes back every fault.
    pub fn heal(&self) {
        lock(&self.state.rules).clear();
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// How often each action was called; one that never was is not there.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in lock(&self.state.calls).iter() {
            *counts.entry(call.action.clone()).or_default() += 1;
        }
        counts
    }

    /// How often this action was called.
    pub fn count(&self, action: Action) -> usize {
        self.counts().get(action.name()).copied().unwrap_or_default()
    }

    /// Forgets the calls so far, to count from here.
    pub fn forget_calls(&self) {
        lock(&self.state.calls).clear();
    }

    /// What the agent asked that it never should: unknown actions and parameters, calls without
    /// credentials, lists longer than AWS takes. Faults make none.
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.state.complaints).clone()
    }

    /// Takes back the complaints, where they are what a test is about.
    pub fn forgive(&self) {
        lock(&self.state.complaints).clear();
    }
}

impl State {
    async fn answer(&self, request: &Request) -> Answer {
        match self.try_answer(request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                if refusal.is_the_callers_mistake {
                    lock(&self.complaints).push(refusal.to_string());
                }
                refusal.render()
            }
        }
    }

    async fn try_answer(&self, request: &Request) -> Result<Answer, Refusal> {
        let signature = Signature::read(request)?;
        let mut form = Form::read(request, signature.service)?;
        let name = form.take("Action").unwrap_or_default();
        lock(&self.calls).push(Call {
            at: Instant::now(),
            action: name.clone(),
            caller: signature.caller,
            parameters: form.fields.clone(),
        });
        let action = Action::named(&name)
            .filter(|action| action.service() == signature.service)
            .ok_or_else(|| signature.service.mistake("InvalidAction", format!("no action '{name}' here")))?;
        let mut effect = Effect::of(self.faults(action));
        tokio::time::sleep(effect.delay).await;
        if let Some(instead) = effect.instead.take() {
            return instead_of_answer(&instead, action);
        }
        let body = self.perform(action, form, &effect)?;
        let whole = action.service().render_result(action, &body);
        let end = if effect.cut { whole.len() / 2 } else { whole.len() };
        Ok(xml(200, whole.get(..end).unwrap_or(&whole).to_owned()))
    }

    /// The faults that strike this one call.
    fn faults(&self, action: Action) -> Vec<Fault> {
        let mut rules = lock(&self.rules);
        let struck = rules
            .iter_mut()
            .filter(|rule| rule.action == action)
            .filter_map(|rule| rule.often.strikes().then(|| rule.fault.clone()))
            .collect();
        rules.retain(|rule| rule.often != Often::Times(0));
        struck
    }

    fn perform(&self, action: Action, mut form: Form, effect: &Effect) -> Result<String, Refusal> {
        let world = effect.view(&self.cloud);
        let body = match action {
            Action::DescribeAutoScalingInstances => describe_auto_scaling_instances(&world, &mut form, effect)?,
            Action::DescribeAutoScalingGroups => describe_auto_scaling_groups(&world, &mut form, effect)?,
            Action::CreateOrUpdateTags => create_or_update_tags(&self.cloud, &mut form)?,
            Action::DescribeInstances => describe_instances(&world, &mut form, effect)?,
        };
        form.finish()?;
        Ok(body)
    }
}

// The actions. What their answers hold is what the agent's SDK reads of them.

fn describe_auto_scaling_instances(world: &World, form: &mut Form, effect: &Effect) -> Result<String, Refusal> {
    const MOST: usize = 50;
    let wanted = form.take_list("InstanceIds.member");
    if wanted.len() > MOST {
        return Err(form.service.mistake("ValidationError", "more than 50 instance ids"));
    }
    let placed = world.instances.iter().filter_map(|instance| {
        let place = instance.place.as_ref()?;
        (wanted.is_empty() || wanted.contains(&instance.id))
            .then(|| element("member", &[member_of_group(instance), text("AutoScalingGroupName", &place.group)]))
    });
    let page = form.take_page("MaxRecords", MOST, effect)?.cut(placed.collect());
    Ok(element("AutoScalingInstances", &page.entries) + &page.next_token("NextToken"))
}

fn describe_auto_scaling_groups(world: &World, form: &mut Form, effect: &Effect) -> Result<String, Refusal> {
    let wanted = form.take_list("AutoScalingGroupNames.member");
    let with_instances = form.take("IncludeInstances").is_none_or(|value| value == "true");
    let groups = world
        .groups
        .values()
        .filter(|group| wanted.is_empty() || wanted.contains(&group.name))
        .map(|group| describe_group(world, group, with_instances));
    let page = form.take_page("MaxRecords", 50, effect)?.cut(groups.collect());
    Ok(element("AutoScalingGroups", &page.entries) + &page.next_token("NextToken"))
}

fn describe_group(world: &World, group: &Group, with_instances: bool) -> String {
    let of_this_group = |instance: &&Instance| instance.place.as_ref().is_some_and(|place| place.group == group.name);
    let instances = world.instances.iter().filter(of_this_group);
    let instances = instances.map(|instance| element("member", &[member_of_group(instance)]));
    let tags = group.tags.iter().map(|(key, value)| {
        element(
            "member",
            &[
                text("ResourceId", &group.name),
                text("ResourceType", "auto-scaling-group"),
                text("Key", key),
                text("Value", value),
                text("PropagateAtLaunch", "false"),
            ],
        )
    });
    element(
        "member",
        &[
            text("AutoScalingGroupName", &group.name),
            text("AutoScalingGroupARN", &group.arn),
            text("MinSize", group.min),
            text("MaxSize", group.max),
            text("DesiredCapacity", group.desired),
            text("DefaultCooldown", 300),
            element("AvailabilityZones", &[text("member", "eu-test-1a")]),
            text("HealthCheckType", "EC2"),
            text("HealthCheckGracePeriod", 0),
            if with_instances { element("Instances", &instances.collect::<Vec<_>>()) } else { String::new() },
            text("CreatedTime", timestamp(group.created)),
            element("Tags", &tags.collect::<Vec<_>>()),
        ],
    )
}

/// What both Auto Scaling actions say of an instance.
fn member_of_group(instance: &Instance) -> String {
    let lifecycle = instance.place.as_ref().map_or("", |place| &place.lifecycle);
    [
        text("InstanceId", &instance.id),
        text("InstanceType", "t4g.small"),
        text("AvailabilityZone", &instance.zone),
        text("LifecycleState", lifecycle),
        text("HealthStatus", "Healthy"),
        text("ProtectedFromScaleIn", "false"),
    ]
    .concat()
}

fn create_or_update_tags(cloud: &Cloud, form: &mut Form) -> Result<String, Refusal> {
    for number in 1.. {
        let mut field = |name: &str| form.take(&format!("Tags.member.{number}.{name}"));
        let Some(key) = field("Key") else { break };
        let (group, kind) = (field("ResourceId"), field("ResourceType"));
        let value = field("Value").unwrap_or_default();
        let propagates = field("PropagateAtLaunch");
        if kind.as_deref() != Some("auto-scaling-group") || propagates.is_none() {
            return Err(form.service.mistake("ValidationError", "a tag without ResourceType or PropagateAtLaunch"));
        }
        let group = group.unwrap_or_default();
        let known = cloud.change(|world| {
            let group = world.groups.get_mut(&group);
            group.map(|group| group.tags.insert(key, value)).is_some()
        });
        if !known {
            return Err(form.service.refusal(400, "ValidationError", format!("no group '{group}'")));
        }
    }
    Ok(String::new())
}

fn describe_instances(world: &World, form: &mut Form, effect: &Effect) -> Result<String, Refusal> {
    let ids = form.take_list("InstanceId");
    if let Some(unknown) = ids.iter().find(|id| !world.instance(id).is_some_and(|instance| instance.known)) {
        let message = format!("The instance ID '{unknown}' does not exist");
        return Err(form.service.refusal(400, "InvalidInstanceID.NotFound", message));
    }
    if !ids.is_empty() && form.fields.contains_key("MaxResults") {
        return Err(form.service.mistake("InvalidParameterCombination", "InstanceId with MaxResults"));
    }
    let filters = Filter::take_all(form)?;
    let found = world
        .instances
        .iter()
        .filter(|instance| instance.known && (ids.is_empty() || ids.contains(&instance.id)))
        .filter(|instance| filters.iter().all(|filter| filter.passes(instance)))
        .map(describe_instance);
    let page = form.take_page("MaxResults", 1000, effect)?.cut(found.collect());
    Ok(element("reservationSet", &page.entries) + &page.next_token("nextToken"))
}

/// One instance, in a reservation of its own as Auto Scaling's launches are.
fn describe_instance(instance: &Instance) -> String {
    let address = instance.address.map(|address| address.to_string());
    // As on a node of containers: a second address, and a second interface. Neither is the instance's own.
    let interface = |index: u8, own: &str, second: &str| {
        let address = |address: &str, primary: &str| {
            element("item", &[text("privateIpAddress", address), text("primary", primary)])
        };
        let addresses = [address(own, "true"), address(second, "false")];
        element(
            "item",
            &[
                text("privateIpAddress", own),
                element("attachment", &[text("deviceIndex", index)]),
                element("privateIpAddressesSet", &addresses),
            ],
        )
    };
    let interfaces = address
        .as_deref()
        .map(|own| [interface(0, own, "10.255.0.1"), interface(1, "10.255.0.2", "10.255.0.3")].concat());
    let tag = instance.launched_by.as_ref().map(|group| {
        let tag = [text("key", GROUP_TAG), text("value", group)];
        element("item", &tag)
    });
    let fields = [
        text("instanceId", &instance.id),
        text("imageId", "ami-0123456789abcdef0"),
        element("instanceState", &[text("code", instance.state as u32), text("name", instance.state.name())]),
        text("privateDnsName", instance.dns_name().unwrap_or_default()),
        address.as_deref().map(|address| text("privateIpAddress", address)).unwrap_or_default(),
        text("instanceType", "t4g.small"),
        text("launchTime", timestamp(instance.launched)),
        element("placement", &[text("availabilityZone", &instance.zone)]),
        element("networkInterfaceSet", interfaces.as_slice()),
        element("tagSet", tag.as_slice()),
    ];
    element(
        "item",
        &[
            text("reservationId", instance.id.replace("i-", "r-")),
            text("ownerId", ACCOUNT),
            element("instancesSet", &[element("item", &fields)]),
        ],
    )
}

const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// A filter of `DescribeInstances`.
struct Filter {
    name: String,
    values: Vec<String>,
}

impl Filter {
    fn take_all(form: &mut Form) -> Result<Vec<Self>, Refusal> {
        let mut filters = Vec::new();
        while let Some(name) = form.take(&format!("Filter.{}.Name", filters.len() + 1)) {
            let values = form.take_list(&format!("Filter.{}.Value", filters.len() + 1));
            // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
            if values.len() > 200 {
                return Err(form.service.mistake("FilterLimitExceeded", "more than 200 values in a filter"));
            }
            if !Self::KNOWN.contains(&name.as_str()) {
                return Err(form.service.mistake("InvalidParameterValue", format!("no filter '{name}' here")));
            }
            filters.push(Self { name, values });
        }
        Ok(filters)
    }

    const KNOWN: [&str; 5] = [
        "instance-id",
        "instance-state-name",
        "private-ip-address",
        "private-dns-name",
        "tag:aws:autoscaling:groupName",
    ];

    fn passes(&self, instance: &Instance) -> bool {
        let has = match self.name.as_str() {
            "instance-id" => Some(instance.id.clone()),
            "instance-state-name" => Some(instance.state.name().to_owned()),
            "private-ip-address" => instance.address.map(|address| address.to_string()),
            "private-dns-name" => instance.dns_name(),
            _ => instance.launched_by.clone(),
        };
        has.is_some_and(|value| self.values.contains(&value))
    }
}

// Faults.

impl Often {
    /// Whether the fault strikes now; counts down.
    fn strikes(&mut self) -> bool {
        match self {
            Self::Always => true,
            Self::Times(0) => false,
            Self::Times(left) => {
                *left -= 1;
                true
            }
            Self::Chance(chance) => fastrand::f64() < *chance,
        }
    }
}

/// What the faults that strike a call do to it together.
#[derive(Default)]
struct Effect {
    delay: Duration,
    /// The fault that takes the answer's place.
    instead: Option<Fault>,
    page: Option<usize>,
    endless: bool,
    cut: bool,
    views: Vec<Fault>,
}

impl Effect {
    fn of(faults: Vec<Fault>) -> Self {
        let mut effect = Self::default();
        for fault in faults {
            match fault {
                Fault::Delay(delay) => effect.delay += delay,
                Fault::ShortPages(page) => effect.page = Some(page.max(1)),
                Fault::EndlessPages => effect.endless = true,
                Fault::Cut => effect.cut = true,
                Fault::Lag(_) | Fault::Frozen(_) | Fault::Without(_) | Fault::Empty => effect.views.push(fault),
                Fault::Throttle | Fault::Deny | Fault::Fail | Fault::Malform | Fault::Drop | Fault::Hang => {
                    effect.instead.get_or_insert(fault);
                }
            }
        }
        effect
    }

    /// The world as this call sees it.
    fn view(&self, cloud: &Cloud) -> World {
        let mut world = cloud.now();
        for fault in &self.views {
            match fault {
                Fault::Lag(lag) => world = cloud.back_then(*lag),
                Fault::Frozen(then) => world = then.clone(),
                Fault::Without(hidden) => world.instances.retain(|instance| !hidden.contains(&instance.id)),
                _ => world = World::default(),
            }
        }
        world
    }
}

fn instead_of_answer(fault: &Fault, action: Action) -> Result<Answer, Refusal> {
    let (service, name) = (action.service(), action.name());
    let refuse = |status, code: &str, message: &str| Err(service.refusal(status, code, message));
    match (fault, service) {
        (Fault::Throttle, Service::AutoScaling) => refuse(400, "Throttling", "Rate exceeded"),
        (Fault::Throttle, Service::Ec2) => refuse(503, "RequestLimitExceeded", "Request limit exceeded."),
        (Fault::Deny, Service::AutoScaling) => {
            let message = format!("User is not authorized to perform: autoscaling:{name}");
            refuse(403, "AccessDenied", &message)
        }
        (Fault::Deny, Service::Ec2) => {
            let message = "You are not authorized to perform this operation.";
            refuse(403, "UnauthorizedOperation", message)
        }
        (Fault::Malform, _) => Ok(xml(200, "<html><body>please log in".to_owned())),
        (Fault::Drop, _) => Ok(Answer::HangUp),
        (Fault::Hang, _) => Ok(Answer::Silence),
        _ => refuse(500, "InternalFailure", "the fake fails as told"),
    }
}

// Pages.

/// Which part of a list was asked for.
struct PageRequest {
    start: usize,
    size: usize,
    endless: bool,
}

struct Page {
    entries: Vec<String>,
    next: Option<usize>,
}

impl PageRequest {
    fn cut(&self, all: Vec<String>) -> Page {
        let rest = all.len().saturating_sub(self.start);
        // An endless list begins again at its end and always promises more.
        let start = if rest == 0 && self.endless { 0 } else { self.start };
        let more = all.len() > start + self.size || self.endless;
        Page { next: more.then_some(start + self.size), entries: all.into_iter().skip(start).take(self.size).collect() }
    }
}

impl Page {
    fn next_token(&self, name: &str) -> String {
        self.next.map(|next| text(name, format!("{TOKEN}{next}"))).unwrap_or_default()
    }
}

const TOKEN: &str = "token/+=&<";

// Requests.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    AutoScaling,
    Ec2,
}

/// Who signed a call, for which service. The signature itself is not verified.
struct Signature {
    caller: InstanceId,
    service: Service,
}

impl Signature {
    fn read(request: &Request) -> Result<Self, Refusal> {
        let missing = || Service::AutoScaling.missing_token();
        let authorization = request.header("authorization").ok_or_else(missing)?;
        let scope = authorization
            .strip_prefix("AWS4-HMAC-SHA256 Credential=")
            .and_then(|rest| rest.split(',').next())
            .ok_or_else(missing)?;
        let [key, _date, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
            return Err(missing());
        };
        let service = match service {
            "autoscaling" => Service::AutoScaling,
            "ec2" => Service::Ec2,
            _ => return Err(missing()),
        };
        if region != REGION || request.header("x-amz-security-token").is_none() {
            return Err(service.missing_token());
        }
        Ok(Self { caller: instance_of_access_key(key), service })
    }
}

const ACCESS_KEY_PREFIX: &str = "ASIA";

/// The access key that the metadata service gives to an instance: it tells whose it is.
pub fn access_key_of(instance: &str) -> String {
    ACCESS_KEY_PREFIX.to_owned() + &instance.trim_start_matches("i-").to_uppercase()
}

fn instance_of_access_key(key: &str) -> InstanceId {
    format!("i-{}", key.trim_start_matches(ACCESS_KEY_PREFIX).to_lowercase())
}

/// The parameters of a call. What nobody takes is unknown to this action, and refused.
struct Form {
    service: Service,
    fields: BTreeMap<String, String>,
}

impl Form {
    fn read(request: &Request, service: Service) -> Result<Self, Refusal> {
        if request.method != "POST" {
            return Err(service.mistake("InvalidAction", format!("method {}", request.method)));
        }
        let fields = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let mut form = Self { service, fields };
        let version = match service {
            Service::AutoScaling => "2011-01-01",
            Service::Ec2 => "2016-11-15",
        };
        match form.take("Version") {
            Some(sent) if sent == version => Ok(form),
            sent => Err(service.mistake("NoSuchVersion", format!("version {sent:?}"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name)
    }

    /// The values of `name.1`, `name.2`, ….
    fn take_list(&mut self, name: &str) -> Vec<String> {
        (1..).map_while(|number| self.take(&format!("{name}.{number}"))).collect()
    }

    fn take_page(&mut self, size_field: &str, most: usize, effect: &Effect) -> Result<PageRequest, Refusal> {
        let size = match self.take(size_field) {
            None => most,
            Some(size) => size
                .parse()
                .ok()
                .filter(|size| (1..=most.max(100)).contains(size))
                .ok_or_else(|| self.service.mistake("ValidationError", format!("{size_field}={size}")))?,
        };
        let start = match self.take("NextToken") {
            None => 0,
            Some(token) => token
                .strip_prefix(TOKEN)
                .and_then(|start| start.parse().ok())
                .ok_or_else(|| self.service.mistake("InvalidNextToken", token.clone()))?,
        };
        Ok(PageRequest { start, size: effect.page.map_or(size, |page| page.min(size)), endless: effect.endless })
    }

    fn finish(self) -> Result<(), Refusal> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(self.service.mistake("UnknownParameter", format!("parameter '{unknown}'"))),
        }
    }
}

// Answers.

/// An error as AWS gives it.
#[derive(Debug)]
struct Refusal {
    service: Service,
    status: u16,
    code: String,
    message: String,
    is_the_callers_mistake: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.service, self.code, self.message)
    }
}

impl Service {
    fn refusal(self, status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal { service: self, status, code: code.to_owned(), message: message.into(), is_the_callers_mistake: false }
    }

    fn mistake(self, code: &str, message: impl Into<String>) -> Refusal {
        Refusal { is_the_callers_mistake: true, ..self.refusal(400, code, message) }
    }

    fn missing_token(self) -> Refusal {
        Refusal {
            status: 403,
            ..self.mistake(
                "MissingAuthenticationToken",
                "Missing Authentication Token, or a signature for another service or region",
            )
        }
    }

    fn render_result(self, action: Action, body: &str) -> String {
        let name = action.name();
        let parts = match self {
            Self::AutoScaling => [
                element(&format!("{name}Result"), &[body]),
                element("ResponseMetadata", &[text("RequestId", REQUEST_ID)]),
            ],
            Self::Ec2 => [text("requestId", REQUEST_ID), body.to_owned()],
        };
        element(&format!("{name}Response"), &parts)
    }
}

impl Refusal {
    fn render(&self) -> Answer {
        let error = [text("Code", &self.code), text("Message", &self.message)];
        let error = element("Error", &error);
        let body = match self.service {
            Service::AutoScaling => element("ErrorResponse", &[error, text("RequestId", REQUEST_ID)]),
            Service::Ec2 => element("Response", &[element("Errors", &[error]), text("RequestID", REQUEST_ID)]),
        };
        xml(self.status, body)
    }
}

const REQUEST_ID: &str = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE";

fn xml(status: u16, body: String) -> Answer {
    Answer::Reply { status, content_type: "text/xml", headers: Vec::new(), body: body.into() }
}

fn element(name: &str, children: &[impl AsRef<str>]) -> String {
    let children: String = children.iter().map(AsRef::as_ref).collect();
    format!("<{name}>{children}</{name}>")
}

fn text(name: &str, value: impl ToString) -> String {
    let value = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}>{value}</{name}>")
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
