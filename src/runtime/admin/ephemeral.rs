//! Whether short-lived state answers, as a gauge.
//!
//! Invariant: a gateway whose short-lived state is away is degraded and ready all the same, since charges go on without
//! it; taking it out of the load balancer would help nobody.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::flows::Gateway;
use crate::ports::measures::EPHEMERAL_UP;

/// How often it is asked.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// Measures it until `stop` is called.
pub(super) async fn measure(gateway: Arc<Gateway>, stop: CancellationToken) {
    let up = gauge!(EPHEMERAL_UP.name);
    loop {
        let answers = gateway.ephemeral.check().await.is_ok();
        up.set(f64::from(u8::from(answers)));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_PAUSE) => {}
        }
    }
}
