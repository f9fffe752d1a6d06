//! Pods that cannot pull although their service account is linked: a pod without a list of its own gets a copy of its
//! account's when it is created, and never anything afterwards (Kubernetes' admission plugin `ServiceAccount`). Pods are not
//! ours to touch: what is told is who has to be created anew.

use pullpass_domain::link::{Link, Usage};

use super::{Outcome, Reason, View};
use crate::cluster::{object::Account, pod::StuckPod};

/// So many pods of one namespace are told of by name.
const TOLD: usize = 3;

/// Names the pods of the link's service accounts that can never get its Secret.
pub(super) fn tell(view: &View, link: &Link, secret: &str, outcome: &mut Outcome) {
    if !link.usages().contains(&Usage::Pull) {
        return;
    }
    let left_out = |(name, pod): (&'_ String, &'_ StuckPod)| {
        let account = view.state.accounts.get(&pod.account)?;
        let linked = link.service_accounts().matches(&pod.account, &account.labels)
            && account.pull.iter().any(|entry| entry == secret);
        let has_it = pod.pull.iter().any(|entry| entry == secret);
        (linked && !has_it).then(|| reason(name, pod, account, view, secret))
    };
    let reasons: Vec<_> = view.state.pods.iter().filter_map(left_out).collect();
    let more = reasons.len().saturating_sub(TOLD);
    for (position, mut reason) in reasons.into_iter().take(TOLD).enumerate() {
        if more > 0 && position + 1 == TOLD {
            reason.message = format!("{}; {more} more pods here lack it", reason.message);
        }
        outcome.because(reason);
    }
}

/// A list that the account's could once have been is taken for a copy of it; entries only come and go, in their order.
fn reason(name: &str, pod: &StuckPod, account: &Account, view: &View, secret: &str) -> Reason {
    let StuckPod { account: account_name, image, pull, .. } = pod;
    let lacks = format!("pod {name} cannot pull {image} and lacks Secret {secret}");
    if !is_part_of(pull, &account.pull) {
        let message = format!(
            "{lacks}: it has imagePullSecrets of its own ({}), and then Kubernetes copies none of service account \
             {account_name}; add {secret} to them in what the pod is made from, or take them away there, and recreate it",
            pull.join(", ")
        );
        return Reason::note("POD_HAS_OWN_LIST", "Pod", name, message);
    }
    let mut message = format!(
        "{lacks}: it was created before service account {account_name} was linked, and Kubernetes copies the account's \
         imagePullSecrets once, at creation; recreate it: kubectl delete pod {name} -n {} (if no controller makes it \
         anew, you have to)",
        view.name
    );
    if !pull.is_empty() {
        message.push_str(
            "; if the new one lacks it too, its template has imagePullSecrets of its own: add it there",
        );
    }
    Reason::note("POD_BEFORE_LINK", "Pod", name, message)
}

/// Whether all of `part` stands in `whole`, in this order.
fn is_part_of(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|entry| rest.any(|other| other == entry))
}
