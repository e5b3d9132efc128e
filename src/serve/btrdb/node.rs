//! What the server says of itself.

use super::Shared;
use crate::error::{Code, Error, Result};
use crate::wire::proto::{FaultInjectParams, FaultInjectResponse, InfoResponse, ProxyInfo};

/// The version of BTrDB's protocol that is spoken here: clients use Arrow from 5.30 on.
const MAJOR: u32 = 5;

/// The second part of it.
const MINOR: u32 = 31;

/// The fault that BTrDB numbers so is a loss of all caches; 1 and 2 are crashes.
const DROP_CACHES: u64 = 3;

/// Who answers Info.
pub(super) fn info() -> InfoResponse {
    InfoResponse {
        stat: None,
        // No cluster: with `proxy` there, empty as it is, clients do not look for one.
        mash: None,
        major_version: MAJOR,
        minor_version: MINOR,
        build: format!("{MAJOR}.{MINOR}.0"),
        proxy: Some(ProxyInfo::default()),
    }
}

impl Shared {
    pub(super) fn fault_inject(&self, params: &FaultInjectParams) -> Result<FaultInjectResponse> {
        if !self.settings.allow_fault_injection {
            return Err(
                Error::unsupported("Fault injection is disabled on this node")
                    .with_code(Code::FaultInjectionDisabled),
            );
        }
        let message = match params.r#type {
            DROP_CACHES => {
                "fault 3, dropping caches, is not implemented: a backend keeps its caches to itself"
                    .to_owned()
            }
            other => format!("fault {other} is not implemented"),
        };
        Err(Error::unsupported(message).with_code(Code::NotImplemented))
    }
}
