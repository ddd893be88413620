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
