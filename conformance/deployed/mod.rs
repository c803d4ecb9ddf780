//! What `deploy/` promises to those who run onbill: the systemd unit here; the image is built and run, and what compose says is
//! started, by the scripts beside this file.

mod unit;
