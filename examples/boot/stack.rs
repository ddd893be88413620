//! The stack of `cloudformation/etcd.yaml`, made at moto by the AWS CLI. The nodes boot with the user data that moto's
//! launch template holds, and their agents ask that moto for their group, their keys and their bucket.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcd_bootstrap::certificate::{Authority as Key, Draft, Purpose, Wanted};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, Story};
use crate::lab::{GROUP, MOTO, OWN, run};
use crate::machine::SNAPSHOT;
use crate::names;
use crate::support::awscli::{AwsCli, REGION, template_for_moto, tool};
use crate::support::child::Child;
use crate::support::cloud::{Ec2State, Instance, Place};
use crate::support::etcd::{Judge, until};
use crate::support::ground::Directory;
use crate::support::imds::IDENTITY;
use crate::support::tls::{Authority, KEYS};

/// moto, with the stack in it.
struct Moto {
    cli: AwsCli,
    _directory: Directory,
    _server: Child,
}

impl Story<'_> {
    pub(super) async fn stack(&mut self) -> Result<(), String> {
        let moto = self.make_the_stack().await?;
        self.scene("3 Flatcar nodes boot from the stack's user data", async |s| s.boot_the_group(&moto).await).await?;
        self.scene("the stack's health check, names, tag and bucket", async |s| s.check_the_stack(&moto).await).await?;
        self.scene("a client of the page, by the load balancer's name", async |s| s.be_a_client(&moto).await).await?;
        self.scene("one terminated by moto, its replacement boots", async |s| s.replace_at(&moto).await).await
    }

    /// moto under AWS's names, and the stack in a VPC whose addresses are the lab's.
    async fn make_the_stack(&mut self) -> Result<Moto, String> {
        run("ip", &["addr", "add", &format!("{MOTO}/32"), "dev", "lab"]).await?;
        let directory = Directory::new().map_err(|error| error.to_string())?;
        let log = std::fs::File::create(self.logs.join("moto.log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(tool("moto_server"));
        command.args(["-H", &MOTO.to_string(), "-p", "4567"]).stderr(log);
        let server = Child::spawn(command).map_err(|error| error.to_string())?;
        let address = SocketAddr::from((MOTO, 4567));
        let up = async || TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string());
        until(PATIENCE, up).await?;
        let cli = AwsCli { url: format!("http://{address}"), directory: directory.path().to_owned() };

        let authority = Authority::new();
        let names = names::moto();
        let files = authority.write(directory.path(), &names.each_ref().map(String::as_str));
        let files = files.map_err(|error| format!("make moto's certificate: {error}"))?;
        let acceptor = files.acceptor().map_err(|error| error.to_string())?;
        let front = TcpListener::bind((MOTO, 443)).await.map_err(|error| error.to_string())?;
        tokio::spawn(forward(front, acceptor, address));

        // Machines have their metadata a hundred addresses above their own.
        let vpc = cli.call("ec2 create-vpc --cidr-block 10.99.0.0/24 --query Vpc.VpcId")?;
        let subnet =
            format!("ec2 create-subnet --cidr-block 10.99.0.0/26 --vpc-id {} --query Subnet.SubnetId", text(&vpc)?);
        let subnet = cli.call(&subnet)?;
        let path = directory.path().join("etcd.yaml");
        std::fs::write(path, template_for_moto()).map_err(|error| error.to_string())?;
        let words = "cloudformation deploy --stack-name etcd --template-file etcd.yaml --capabilities CAPABILITY_IAM";
        let given = format!("Vpc={} Subnets={} Image=ami-12345678", text(&vpc)?, text(&subnet)?);
        let binary = format!("BinaryUrl=s3://binaries/etcd-bootstrap BinarySha512={}", self.sha512()?);
        cli.call(&format!("{words} --parameter-overrides {given} {binary}"))?;
        // moto's CloudFormation makes keys that cannot sign: the aliases get others.
        for alias in KEYS {
            let key =
                cli.call("kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY --query KeyMetadata.KeyId")?;
            cli.call(&format!("kms update-alias --alias-name {alias} --target-key-id {}", text(&key)?))?;
        }
        let ca = std::fs::read_to_string(&files.ca).map_err(|error| error.to_string())?;
        self.lab.rely_on(&ca, judge(&cli)?);
        Ok(Moto { cli, _directory: directory, _server: server })
    }

    /// As `make dist` has written it beside the binary.
    fn sha512(&self) -> Result<String, String> {
        let name = format!("etcd-bootstrap-{}-unknown-linux-musl.sha512", std::env::consts::ARCH);
        let line = std::fs::read_to_string(self.lab.image.dist.join(name)).map_err(|error| error.to_string())?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    }

    async fn boot_the_group(&mut self, moto: &Moto) -> Result<Duration, String> {
        let began = Instant::now();
        self.boot_instances(moto).await?;
        let formed = self.whole().await? - began;
        self.write_key().await?;
        Ok(formed)
    }

    /// Boots every running instance of moto's that has no machine yet, with the user data of its launch template.
    async fn boot_instances(&mut self, moto: &Moto) -> Result<(), String> {
        let group =
            moto.cli.call("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[0].LaunchTemplate")?;
        let words =
            "ec2 describe-launch-template-versions --query LaunchTemplateVersions[0].LaunchTemplateData.UserData";
        let (template, version) = (text(&group["LaunchTemplateId"])?, text(&group["Version"])?);
        let user_data = moto.cli.call(&format!("{words} --launch-template-id {template} --versions {version}"))?;
        let user_data = STANDARD.decode(text(&user_data)?).map_err(|error| error.to_string())?;
        let config = self.lab.adapt(&String::from_utf8_lossy(&user_data))?;
        let running = "ec2 describe-instances --filters Name=instance-state-name,Values=running \
             --query Reservations[].Instances[].[InstanceId,PrivateIpAddress]";
        let running = moto.cli.call(running)?;
        let mut booting = JoinSet::new();
        for instance in running.as_array().into_iter().flatten() {
            let (id, address) = (text(&instance[0])?.to_owned(), text(&instance[1])?);
            if self.machines.iter().any(|machine| machine.instance == id) {
                continue;
            }
            let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
            self.tell_metadata(&id, address);
            let machine = Arc::new(self.lab.machine(GROUP, (id.clone(), address), &config).await?);
            let document = json!({ "instanceId": id, "privateIp": address, "region": REGION, "availabilityZone": "a" });
            machine.imds.answer(IDENTITY, 200, &document.to_string());
            self.machines.push(Arc::clone(&machine));
            booting.spawn(async move { machine.first_boot().await });
        }
        booting.join_all().await.into_iter().collect()
    }

    /// What the metadata service tells of an instance that is moto's.
    fn tell_metadata(&self, id: &str, address: Ipv4Addr) {
        let place = Place { group: GROUP.into(), lifecycle: "InService".into(), target: "InService".into() };
        self.lab.cloud.change(|world| {
            world.instances.push(Instance {
                id: id.to_owned(),
                state: Ec2State::Running,
                place: Some(place),
                launched_by: Some(GROUP.into()),
                tags: BTreeMap::new(),
                vpc: None,
                address: Some(address),
                zone: "a".into(),
                launched: SystemTime::now(),
                known: true,
            });
        });
    }

    /// What the template's parts are for, on the nodes that it has made.
    async fn check_the_stack(&mut self, moto: &Moto) -> Result<Option<Duration>, String> {
        let targets = moto.cli.call("elbv2 describe-target-groups --query TargetGroups[0]")?;
        let (port, path) = (text(&targets["HealthCheckPort"])?, text(&targets["HealthCheckPath"])?);
        let balancer = moto.cli.call("elbv2 describe-load-balancers --query LoadBalancers[0].DNSName")?;
        for machine in &self.machines {
            let url = format!("http://{}:{port}{path}", machine.address);
            run("curl", &["--silent", "--show-error", "--fail", "--max-time", "5", &url]).await?;
            let node = machine.root().join("etc/ssl/certs/etcd/node.pem").display().to_string();
            let names = run("openssl", &["x509", "-in", &node, "-noout", "-ext", "subjectAltName"]).await?;
            if !names.contains(text(&balancer)?) {
                return Err(format!("a certificate is not for {balancer}, but for {names}"));
            }
        }
        let tags = moto.cli.call("autoscaling describe-tags --query Tags[].Key")?;
        if tags != json!(["Name", "etcd-bootstrap/founding", "etcd-bootstrap/cluster-id"]) {
            return Err(format!("the group has the tags {tags}"));
        }
        for machine in &self.machines {
            machine.inside(&["systemctl", "start", SNAPSHOT]).await?;
        }
        let bucket = moto.cli.call("s3api list-buckets --query Buckets[0].Name")?;
        let objects =
            moto.cli.call(&format!("s3api list-objects-v2 --query Contents[].Key --bucket {}", text(&bucket)?))?;
        match objects.as_array().map(Vec::as_slice) {
            Some([key, ..]) if text(key)?.starts_with("etcd/") => Ok(None),
            _ => Err(format!("the stack's bucket has {objects}")),
        }
    }

    /// The page's command on a client gets it a certificate, by which it reaches each member under the load balancer's
    /// name, as the listener would pass it on.
    async fn be_a_client(&mut self, moto: &Moto) -> Result<Option<Duration>, String> {
        const FILES: &str = "/var/lib/client";
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/first-cluster.md");
        let page = std::fs::read_to_string(page).map_err(|error| format!("{page}: {error}"))?;
        let command = page.replace("\\\n", " ");
        let command = command.lines().find_map(|line| line.trim().strip_prefix("sudo etcd-bootstrap "));
        let command = command.ok_or("the page has no command for a client")?;
        // For want of another machine, beside a member, whose own certificate is where a client's would be.
        let machine = &self.machines[0];
        let directory = format!("--certificate-dir={FILES}");
        let words: Vec<&str> = command.split_whitespace().chain([directory.as_str()]).collect();
        machine.inside(&["mkdir", "-p", FILES]).await?;
        let told = machine.inside(&[&["/opt/bin/etcd-bootstrap"], words.as_slice()].concat()).await?;
        let written = machine.inside(&["cat", "/run/etcd-client.env"]).await?;
        if !written.contains(&format!("ETCDCTL_CERT={FILES}/node.pem")) {
            return Err(format!("the client has '{written}': {told}"));
        }
        let balancer = moto.cli.call("elbv2 describe-load-balancers --query LoadBalancers[0].DNSName")?;
        let balancer = text(&balancer)?;
        let [authorities, own] = ["servers.pem", "node.pem"].map(|file| machine.root().join(&FILES[1..]).join(file));
        let (authorities, own) = (authorities.display().to_string(), own.display().to_string());
        let url = format!("https://{balancer}:2379/health");
        for address in self.addresses() {
            let there = format!("{balancer}:2379:{address}");
            let shown = ["--cacert", &authorities, "--cert", &own, "--key", &own, "--resolve", &there];
            run("curl", &[&["--silent", "--show-error", "--fail"], shown.as_slice(), &[&url]].concat()).await?;
        }
        Ok(None)
    }

    /// Auto Scaling terminates one, and launches another at once: moto's does.
    async fn replace_at(&mut self, moto: &Moto) -> Result<Duration, String> {
        let machine = self.machines.remove(0);
        let words = "autoscaling terminate-instance-in-auto-scaling-group --no-should-decrement-desired-capacity";
        moto.cli.call(&format!("{words} --instance-id {}", machine.instance))?;
        self.lab.terminate(&machine).await?;
        self.gone.push(machine);
        let began = Instant::now();
        self.boot_instances(moto).await?;
        Ok(self.whole().await? - began)
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("moto says {value} where a text is expected"))
}

/// moto behind TLS.
async fn forward(front: TcpListener, acceptor: TlsAcceptor, moto: SocketAddr) {
    while let Ok((caller, _)) = front.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let (Ok(mut caller), Ok(mut moto)) = (acceptor.accept(caller).await, TcpStream::connect(moto).await) {
                let _ = copy_bidirectional(&mut caller, &mut moto).await;
            }
        });
    }
}

/// A member by the certificate that moto's KMS signs for it, as for any node.
fn judge(cli: &AwsCli) -> Result<Judge, String> {
    let told = cli.call(&format!("kms get-public-key --key-id {}", KEYS[0]))?;
    let public_key = STANDARD.decode(text(&told["PublicKey"])?).map_err(|error| error.to_string())?;
    // The id is part of the authority's name, for the agent too.
    let id = text(&told["KeyId"])?.rsplit('/').next().unwrap_or_default();
    let authority = Key::new(id, id, public_key).map_err(|error| error.to_string())?;
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    let names = vec![OWN.to_string()];
    let wanted = Wanted { purpose: Purpose::Member, names, not_before: now - day, not_after: now + day };
    let mut draft = Draft::new(&wanted).map_err(|error| error.to_string())?;
    let message = draft.to_be_signed(&authority).map_err(|error| error.to_string())?;
    std::fs::write(cli.directory.join("message"), message).map_err(|error| error.to_string())?;
    let words =
        "kms sign --message fileb://message --message-type RAW --signing-algorithm ECDSA_SHA_256 --query Signature";
    let signature = cli.call(&format!("{words} --key-id {}", KEYS[0]))?;
    let signature = STANDARD.decode(text(&signature)?).map_err(|error| error.to_string())?;
    let node = draft.signed(&authority, &signature).map_err(|error| error.to_string())?;
    let anchor = authority.anchor().map_err(|error| error.to_string())?;
    Judge::with_certificate(anchor.as_bytes(), node.as_bytes(), node.as_bytes()).map_err(|error| error.to_string())
}
