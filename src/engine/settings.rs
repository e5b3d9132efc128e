//! What an operator may turn, with defaults that suit a machine of a few GiB.

use std::time::Duration;

/// Limits and habits of an engine. All sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Inner nodes kept in memory, and in an eighth of it how time buckets divide them: 64 MiB. Scans of points do not push
    /// them out.
    pub node_cache_bytes: u64,
    /// Decoded points kept in memory: 192 MiB. A scan larger than half of it does not enter.
    pub chunk_cache_bytes: u64,
    /// Points that wait beside their trees, over all streams: 64 MiB. Inserts wait while there are more. Streams that are
    /// read meanwhile keep a second, sorted copy of theirs.
    pub live_bytes_max: u64,
    /// Points on their way into the store: 64 MiB. Inserts wait while there are more.
    pub write_bytes_max: u64,
    /// Encoded bytes being fetched at once: 64 MiB.
    pub fetch_bytes_max: u64,
    /// A checkpoint is written when the log behind the last one has so many bytes: 32 MiB.
    pub checkpoint_log_bytes: u64,
    /// ... or so many objects: 8,192, and 1,024 where each costs a request to a distant store.
    pub checkpoint_log_objects: u64,
    /// ... or so many mutations: two million.
    pub checkpoint_mutations: u64,
    /// Points that wait beside one tree before they are folded into it: 4,096.
    pub fold_points: usize,
    /// Mutations of so many points go into a tree at once instead of waiting beside it: 4,096.
    pub direct_points: usize,
    /// Checkpoints kept, with the log from the oldest of them on: 3.
    pub checkpoints_kept: usize,
    /// How long a store that several machines can reach must have been silent before a writer that did not close it counts
    /// as dead: 15 s. A writer that has nothing to say says so three times in that.
    pub lease: Duration,
    /// Whether local files are forced to the disk before anything is acknowledged: yes. Without, a crash of this program
    /// loses nothing, but a power loss may lose the last seconds, or leave a store that has to be restored.
    pub fsync: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_cache_bytes: 64 << 20,
            chunk_cache_bytes: 192 << 20,
            live_bytes_max: 64 << 20,
            write_bytes_max: 64 << 20,
            fetch_bytes_max: 64 << 20,
            checkpoint_log_bytes: 32 << 20,
            checkpoint_log_objects: 8192,
            checkpoint_mutations: 2_000_000,
            fold_points: 4096,
            direct_points: 4096,
            checkpoints_kept: 3,
            lease: Duration::from_secs(15),
            fsync: true,
        }
    }
}
