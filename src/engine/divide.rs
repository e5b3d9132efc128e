//! How nodes lie in windows: looked up where that is known, worked out where it is not.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use super::cache::{CutKey, Grid};
use super::fetch::Fetcher;
use super::tree::{Link, Node};
use super::walk::{LookedNode, StatWalk, Want, WindowPlan, Worth};
use crate::error::{Error, Result};
use crate::model::Stat;

/// Inner nodes whose windows are worked out side by side: each reads in rounds of its own.
const NODES_AT_ONCE: usize = 8;

/// What a round of a walk is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// The grid, if it was asked for before.
    pub(crate) grid: Option<Grid>,
    /// Windows that may still be answered.
    pub(crate) left: u64,
    /// Windows of the next batch.
    pub(crate) batch: u64,
}

/// The nodes that a walk wants, looked at, in their order; or the first of them, where these are enough for the next batch.
///
/// Where the grid is known, nodes that were divided so before are not read again, and those that are worth it are kept.
pub(crate) async fn divided(
    fetcher: &mut Fetcher,
    plan: &WindowPlan,
    round: Round,
    wants: Vec<Want>,
) -> Result<Vec<LookedNode>> {
    let (Some(grid), true) = (round.grid, wants.iter().any(|want| want.kept.is_some())) else {
        return looked(fetcher, plan, round.grid, Leaves::Kept, wants).await;
    };
    let fetching = &*fetcher;
    let (mut others, mut whole) = (Vec::new(), Vec::new());
    let mut is_whole = Vec::new();
    let mut windows = 0;
    for want in wants {
        if windows >= round.batch {
            break;
        }
        let (Some(worth), Some(key)) = (want.kept, want.key(grid)) else {
            is_whole.push(false);
            others.push(want);
            continue;
        };
        let known = fetching.cut(&key);
        // Of a node that has more windows than are asked for, only the first are worked out.
        if known.is_none() && worth.windows > round.left {
            is_whole.push(false);
            others.push(want);
            continue;
        }
        is_whole.push(true);
        windows += worth.windows;
        whole.push(async move {
            match known {
                Some(windows) => Ok(windows),
                None => beneath(fetching.again(), plan, key, want.link, worth).await,
            }
        });
    }
    let whole: Vec<_> = stream::iter(whole)
        .buffered(NODES_AT_ONCE)
        .try_collect()
        .await?;
    let mut whole = whole.into_iter().map(LookedNode::Known);
    let others = looked(fetcher, plan, Some(grid), Leaves::Kept, others).await?;
    let mut others = others.into_iter();
    let nodes = is_whole.into_iter().map(|is_whole| {
        let node = if is_whole {
            whole.next()
        } else {
            others.next()
        };
        node.ok_or_else(|| Error::internal("a node was not looked at"))
    });
    nodes.collect()
}

/// The windows of an inner node, and of all that lies beneath it.
async fn beneath(
    mut fetcher: Fetcher,
    plan: &WindowPlan,
    key: CutKey,
    link: Link,
    worth: Worth,
) -> Result<Arc<[(i64, Stat)]>> {
    let mut walk = StatWalk::beneath(link, worth.span, plan);
    let leaves = if worth.is_edge {
        Leaves::Kept
    } else {
        Leaves::Known
    };
    loop {
        let wants = walk.wants();
        if wants.is_empty() {
            break;
        }
        let nodes = looked(&mut fetcher, walk.plan(), Some(key.grid), leaves, wants).await?;
        walk.supply(nodes);
    }
    let windows = walk.into_kept();
    fetcher.keep_cut(key, Arc::clone(&windows));
    Ok(windows)
}

/// Whether leaves that are divided are kept, or only looked up: beneath a node that is kept they would take its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Kept,
    Known,
}

/// Nodes in hand, and leaves as they were divided before, if they were.
async fn looked(
    fetcher: &mut Fetcher,
    plan: &WindowPlan,
    grid: Option<Grid>,
    leaves: Leaves,
    wants: Vec<Want>,
) -> Result<Vec<LookedNode>> {
    let mut links = Vec::new();
    let mut known = Vec::with_capacity(wants.len());
    for want in wants {
        let key = grid.and_then(|grid| want.key(grid));
        let windows = key.and_then(|key| fetcher.cut(&key));
        if windows.is_none() {
            links.push(want.link);
        }
        known.push((key, windows));
    }
    let nodes = fetcher.nodes(&links).await?;
    let mut looked = look(plan, nodes).await?.into_iter();
    let nodes = known.into_iter().map(|(key, windows)| {
        if let Some(windows) = windows {
            return Ok(LookedNode::Known(windows));
        }
        let node = looked
            .next()
            .ok_or_else(|| Error::internal("a node was not looked at"))?;
        if leaves == Leaves::Kept
            && let (Some(key), Some(windows)) = (key, node.few())
        {
            fetcher.keep_cut(key, windows);
        }
        Ok(node)
    });
    nodes.collect()
}

/// Nodes that make a task of their own worth while: some tens of microseconds of work.
const NODES_OF_TASK_MIN: usize = 128;

/// Threads that can work side by side. Asking the system takes longer than a short read.
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get));

/// Looks at nodes on as many cores as there is work for.
async fn look(plan: &WindowPlan, mut nodes: Vec<Node>) -> Result<Vec<LookedNode>> {
    let parts = (nodes.len() / NODES_OF_TASK_MIN).clamp(1, *CORES);
    let size = nodes.len().div_ceil(parts).max(1);
    let mut tasks = JoinSet::new();
    for part in (1..parts).rev() {
        let (plan, nodes) = (plan.clone(), nodes.split_off(part * size));
        // On a thread of its own at once: a task would wait in this worker's own slot until this one is done.
        tasks.spawn_blocking(move || (part, plan.look(nodes)));
    }
    let mut looked = BTreeMap::from([(0, plan.look(nodes))]);
    while let Some(part) = tasks.join_next().await {
        let (part, nodes) =
            part.map_err(|error| Error::internal(format!("a read did not finish: {error}")))?;
        looked.insert(part, nodes);
    }
    Ok(looked.into_values().flatten().collect())
}
