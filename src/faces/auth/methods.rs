//! Which RPC needs which scope.
//!
//! Invariant: every RPC that needs a caller is in the table, once, and one that is not is refused; a test holds the
//! table against the descriptors. What the scopes are is the domain's matter.

use crate::domain::scope::Scope;

/// Every RPC of ours by its path, and the scope that it needs.
pub const SCOPES: [(&str, Scope); 18] = [
    ("/onbill.v1.AccountService/ValidateAccount", Scope::Accounts),
    ("/onbill.v1.PinService/SendPin", Scope::Pins),
    ("/onbill.v1.PinService/ValidatePin", Scope::Pins),
    ("/onbill.v1.TransactionService/CreateTransaction", Scope::TransactionsWrite),
    ("/onbill.v1.TransactionService/GetTransaction", Scope::TransactionsRead),
    ("/onbill.v1.TransactionService/ListTransactions", Scope::TransactionsRead),
    ("/onbill.v1.TransactionService/WatchTransaction", Scope::TransactionsRead),
    ("/onbill.v1.NotificationService/SendNotification", Scope::Notifications),
    ("/onbill.v1.SandboxService/ListMessages", Scope::Sandbox),
    ("/onbill.v1.SandboxService/GetBill", Scope::Sandbox),
    ("/onbill.v1.SandboxService/AdvanceClock", Scope::Sandbox),
    ("/onbill.v1.SandboxService/ResetAccount", Scope::Sandbox),
    ("/onbill.v1.CertificationService/StartRun", Scope::Certification),
    ("/onbill.v1.CertificationService/GetRun", Scope::Certification),
    ("/onbill.v1.CertificationService/WatchRun", Scope::Certification),
    ("/onbill.v1.CertificationService/ListRuns", Scope::Certification),
    ("/onbill.v1.CertificationService/FinishRun", Scope::Certification),
    ("/onbill.v1.CertificationService/GetReport", Scope::Certification),
];

/// The scope that the RPC of a path needs; `None` where the path is none of ours.
#[must_use]
pub fn scope_of(path: &str) -> Option<Scope> {
    SCOPES.into_iter().find(|(known, _)| *known == path).map(|(_, scope)| scope)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::faces::pb;

    #[test]
    fn every_rpc_of_the_descriptors_needs_a_scope_and_every_scope_is_needed() {
        let pool = prost_reflect::DescriptorPool::decode(pb::DESCRIPTORS).expect("descriptors");
        let ours = pool.services().filter(|service| service.full_name().starts_with("onbill.v1."));
        let methods = ours.flat_map(|service| service.methods().collect::<Vec<_>>());
        let served: BTreeSet<String> =
            methods.map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name())).collect();
        let listed: BTreeSet<String> = SCOPES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!((listed.len(), listed), (SCOPES.len(), served));
        let needed: BTreeSet<Scope> = SCOPES.iter().map(|(_, scope)| *scope).collect();
        assert_eq!(needed, BTreeSet::from(Scope::ALL));
        assert_eq!(scope_of("/onbill.v1.PinService/sendpin"), None);
    }
}
