//! This node: its clock, its disk, its certificates.

use std::time::{Duration, SystemTime};

use super::{Says, failure, not_seen, ok, or_ok, unknown, warning};
use crate::decide::view::elapsed;
use crate::model::{BlindKind, Checkup, Disk, DiskKind, Observation, Policy, Scheme, Seen};

/// etcd itself warns of more between two members ("the clock difference against peer", server/etcdserver/api/rafthttp,
/// v3.7.3).
const CLOCK: Duration = Duration::from_secs(1);

/// AWS takes no call that was signed earlier or later (IAM user guide, "Troubleshoot Signature Version 4 request
/// signing", read 2026-11-28).
const CLOCK_OF_AWS: Duration = Duration::from_secs(300);

/// "The 99th percentile of fdatasync durations should be less than 10 ms" (etcd.io, "Hardware recommendations" and
/// "Frequently Asked Questions", read 2026-11-28).
const SYNC: Duration = Duration::from_millis(10);

/// etcd's default quota of its database (etcd.io, "System limits", v3.6).
const QUOTA: u64 = 2 << 30;

/// Two segments of etcd's log, which it makes at full length (`SegmentSizeBytes`, server/storage/wal/wal.go, v3.7.3).
const TWO_SEGMENTS: u64 = 128 << 20;

/// Who brings certificates needs days for a new one. The alert in prometheus/alerts.yaml is the last word, at three days.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// By the `Date` of AWS's reply, which is of the second between the question and the end of the pass.
pub(super) fn clock(o: &Observation) -> Vec<Says> {
    let Some((asked, date)) = o.group.ok().and_then(|group| Some((group.read_at, group.date?))) else {
        return vec![unknown("not known: AWS has not said what time it is")];
    };
    let behind = elapsed(o.taken_at, date);
    let ahead = elapsed(date + Duration::from_secs(1), asked);
    let (off, way) = if behind > ahead { (behind, "behind") } else { (ahead, "ahead of") };
    let says = format!("this clock is {:.1} s {way} that of AWS", off.as_secs_f64());
    let fix = "chrony, with Amazon's time server: server 169.254.169.123 prefer iburst";
    vec![if off >= CLOCK_OF_AWS {
        failure(says, fix)
    } else if off >= CLOCK {
        warning(says, fix)
    } else {
        ok("this clock and that of AWS agree within a second")
    }]
}

pub(super) fn disk(seen: &Checkup) -> Vec<Says> {
    let disk = match &seen.disk {
        Seen::Yes(disk) => disk,
        Seen::No(blind) if blind.kind == BlindKind::Absent => return vec![unknown(blind.to_string())],
        Seen::No(blind) => {
            return vec![failure(
                blind.to_string(),
                "etcd and this program have to be the owner of the directory, mode 0700",
            )];
        }
    };
    let Disk { path, mode, sync_p99, free, kind } = disk;
    let mut ills = Vec::new();
    match kind {
        DiskKind::Memory => {
            ills.push(failure(format!("{path} is in memory: its data ends with a reboot"), "a directory on a disk"));
        }
        DiskKind::Network => {
            ills.push(warning(
                format!("{path} is on another machine, and etcd waits for it at each write"),
                "a local or EBS volume",
            ));
        }
        DiskKind::Local => {}
    }
    if *sync_p99 > SYNC {
        ills.push(warning(
            format!("one in a hundred writes to {path} takes {:.1} ms to be on the disk", sync_p99.as_secs_f64() * 1000.0),
            "etcd wants 10 ms at most: a volume with more operations a second, or --heartbeat-interval and --election-timeout \
             of etcd that fit it",
        ));
    }
    let mib = free >> 20;
    if *free < TWO_SEGMENTS {
        ills.push(failure(format!("{mib} MiB are free at {path}: etcd does not start"), "a larger volume"));
    } else if *free < QUOTA {
        ills.push(warning(
            format!("{mib} MiB are free at {path}, less than the 2 GiB that a database may grow to"),
            "a larger volume",
        ));
    }
    if mode & 0o077 != 0 {
        ills.push(warning(format!("others may read {path}: its mode is {mode:04o}"), format!("chmod 0700 {path}")));
    }
    or_ok(ills, || {
        let ms = sync_p99.as_secs_f64() * 1000.0;
        format!("99 of 100 writes to {path} are on the disk within {ms:.1} ms, and {mib} MiB are free")
    })
}

pub(super) fn certificates(o: &Observation, p: &Policy, seen: &Checkup) -> Vec<Says> {
    if p.peer_scheme == Scheme::Http && p.client_scheme == Scheme::Http {
        return vec![warning("both ports are in the clear", "TLS, as README.md has it under Certificates")];
    }
    if let Some(trouble) = &o.certificate_trouble {
        return vec![match seen.certificate_until {
            // `run` has one issued before it asks anybody.
            None if seen.issues => unknown(format!("none is issued yet: {trouble}")),
            Some(_) | None => failure(trouble, "a certificate as README.md has it under TLS and authentication"),
        }];
    }
    if let Seen::No(blind) = &o.me {
        return vec![not_seen(blind)];
    }
    vec![match seen.certificate_until {
        None => warning(
            "etcd does not listen on https without a certificate, and none is given here",
            "one, or http, as README.md has it under TLS and authentication; nothing where etcd's unit has its own",
        ),
        Some(end) if elapsed(o.taken_at, end) < SOON && !seen.issues => warning(
            format!("this node's certificate ends in {}", days(o.taken_at, end)),
            "renew it: a running etcd reads the files again",
        ),
        Some(end) => ok(format!("this node's certificate is valid for {}", days(o.taken_at, end))),
    }]
}

fn days(from: SystemTime, to: SystemTime) -> String {
    format!("{:.1} days", elapsed(from, to).as_secs_f64() / 86_400.0)
}
