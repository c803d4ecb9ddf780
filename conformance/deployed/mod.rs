//! What `deploy/` promises to those who run onbill: the systemd unit here; the image is built and run by the script beside this file.

mod unit;
