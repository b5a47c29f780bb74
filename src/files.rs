//! Slice: subnet.env and the options for Docker.

pub mod docker_opts;
pub mod reconciler;
pub mod subnet_env;
