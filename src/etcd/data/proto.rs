//! The protobuf messages of a write-ahead log, as far as they are read here: other fields are skipped, absent ones are 0.

use prost::Message;

/// walpb.Record (server/storage/wal/walpb/record.proto, v3.7.1).
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    #[prost(int64, tag = "1")]
    pub kind: i64,
    #[prost(uint32, tag = "2")]
    pub crc: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

/// etcdserverpb.Metadata (api/etcdserverpb/etcdserver.proto, v3.7.1).
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(uint64, tag = "1")]
    pub node_id: u64,
    #[prost(uint64, tag = "2")]
    pub cluster_id: u64,
}

/// raftpb.Entry (raft/raftpb/raft.proto, v3.6.0).
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    #[prost(uint64, tag = "1")]
    pub kind: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(uint64, tag = "3")]
    pub index: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// raftpb.HardState (raft/raftpb/raft.proto, v3.6.0).
#[derive(Clone, PartialEq, Message)]
pub struct HardState {
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

/// walpb.Snapshot (server/storage/wal/walpb/record.proto, v3.7.1).
#[derive(Clone, PartialEq, Message)]
pub struct Snapshot {
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

/// raftpb.ConfChange (raft/raftpb/raft.proto, v3.6.0).
#[derive(Clone, PartialEq, Message)]
pub struct ConfChange {
    #[prost(uint64, tag = "2")]
    pub kind: u64,
    #[prost(uint64, tag = "3")]
    pub node_id: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub context: Vec<u8>,
}

/// etcdserverpb.AlarmMember (api/etcdserverpb/rpc.proto, v3.7.1).
#[derive(Clone, PartialEq, Message)]
pub struct AlarmMember {
    #[prost(uint64, tag = "1")]
    pub member: u64,
    #[prost(int32, tag = "2")]
    pub kind: i32,
}

/// What of etcdserverpb.InternalRaftRequest changes the key space (api/etcdserverpb/raft_internal.proto, v3.7.1).
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(bytes = "vec", optional, tag = "4")]
    pub put: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub delete_range: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub txn: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub lease_grant: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub lease_revoke: Option<Vec<u8>>,
}
