//! How nodes lie in windows: looked up where that is known, worked out where it is not.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use super::cache::{CutKey, Grid};
use super::fetch::Fetcher;
use super::tree::{Link, Node, Span};
use super::walk::{LookedNode, StatWalk, Want, WindowPlan};
use crate::error::{Error, Result};
use crate::model::Stat;

/// Inner nodes whose windows are worked out side by side: each reads in rounds of its own.
const NODES_AT_ONCE: usize = 8;

/// The nodes that a walk wants, looked at, in their order. Where the grid is known, nodes that were divided so before are not read
/// again, and those that are worth it are kept.
pub(crate) async fn divided(
    fetcher: &mut Fetcher,
    plan: &WindowPlan,
    grid: Option<Grid>,
    wants: Vec<Want>,
) -> Result<Vec<LookedNode>> {
    let (Some(grid), true) = (grid, wants.iter().any(|want| want.kept_span.is_some())) else {
        return looked(fetcher, plan, grid, wants).await;
    };
    let fetching = &*fetcher;
    let (mut others, mut whole) = (Vec::new(), Vec::new());
    let mut is_whole = Vec::with_capacity(wants.len());
    for want in wants {
        let key = want.key(grid);
        is_whole.push(want.kept_span.is_some());
        match (want.kept_span, key) {
            (Some(span), Some(key)) => whole.push(async move {
                match fetching.cut(&key) {
                    Some(windows) => Ok(windows),
                    None => beneath(fetching.again(), plan, key, want.link, span).await,
                }
            }),
            _ => others.push(want),
        }
    }
    let whole: Vec<_> = stream::iter(whole)
        .buffered(NODES_AT_ONCE)
        .try_collect()
        .await?;
    let mut whole = whole.into_iter().map(LookedNode::Known);
    let mut others = looked(fetcher, plan, Some(grid), others).await?.into_iter();
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
    span: Span,
) -> Result<Arc<[(i64, Stat)]>> {
    let mut walk = StatWalk::beneath(link, span, plan);
    loop {
        let wants = walk.wants();
        if wants.is_empty() {
            break;
        }
        let nodes = looked(&mut fetcher, walk.plan(), Some(key.grid), wants).await?;
        walk.supply(nodes);
    }
    let windows = walk.into_kept();
    fetcher.keep_cut(key, Arc::clone(&windows));
    Ok(windows)
}

/// Nodes in hand, and leaves as they were divided before, if they were.
async fn looked(
    fetcher: &mut Fetcher,
    plan: &WindowPlan,
    grid: Option<Grid>,
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
        if let (Some(key), Some(windows)) = (key, node.few()) {
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
