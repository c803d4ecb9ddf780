//! Whether short-lived state answers: as a gauge, and as a line of `/readyz`.
//!
//! Invariant: a gateway whose short-lived state is away is degraded and ready all the same, since charges go on without
//! it; taking it out of the load balancer would help nobody.

use std::sync::Arc;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use tokio_util::sync::CancellationToken;

use crate::flows::Gateway;

/// Whether short-lived state answers.
const UP: &str = "onbill_ephemeral_up";
/// How often it is asked.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// The line of `/readyz`.
pub(super) async fn line(gateway: &Gateway) -> String {
    match gateway.ephemeral.check().await {
        Ok(()) => "ephemeral: ok\n".to_owned(),
        Err(error) => {
            format!("ephemeral: degraded, charges go on and PINs do not: {}\n", error.0.to_note())
        }
    }
}

/// Measures it until `stop` is called.
pub(super) async fn measure(gateway: Arc<Gateway>, stop: CancellationToken) {
    describe_gauge!(
        UP,
        "1 where the store of PINs and flights answers, 0 where it does not; charges go on without it."
    );
    let up = gauge!(UP);
    loop {
        let answers = gateway.ephemeral.check().await.is_ok();
        up.set(f64::from(u8::from(answers)));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_PAUSE) => {}
        }
    }
}
