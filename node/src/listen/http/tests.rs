mod drain;
mod hostile;
mod http1;
mod http2;
