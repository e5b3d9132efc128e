//! DoGet, answered past gRPC's own encoder.
//!
//! That one copies each message into a buffer of its own. Here the parts of a [message](super::message) are the frames of the
//! answer. The rest of the call is tonic's, and so is every other call.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::{FlightData, Ticket};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{Empty, StreamExt, empty};
use http_body::Frame;
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::encode::DataStream;
use super::message::Frames;
use super::service::FlightServer;

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// Arrow Flight and Flight SQL as a service of a gRPC server.
#[derive(Clone)]
pub struct FlightRoutes {
    server: Arc<FlightServer>,
    calls: FlightServiceServer<FlightServer>,
    message_bytes_max: usize,
}

impl FlightRoutes {
    pub(super) fn new(server: FlightServer, message_bytes_max: usize) -> Self {
        let server = Arc::new(server);
        Self {
            calls: FlightServiceServer::from_arc(Arc::clone(&server))
                .max_decoding_message_size(message_bytes_max)
                .max_encoding_message_size(usize::MAX),
            server,
            message_bytes_max,
        }
    }
}

impl fmt::Debug for FlightRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightRoutes")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl NamedService for FlightRoutes {
    const NAME: &'static str = <FlightServiceServer<FlightServer> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for FlightRoutes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.calls, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != DO_GET {
            return self.calls.call(request);
        }
        let get = Get {
            server: Arc::clone(&self.server),
            messages: Arc::default(),
        };
        let messages = Arc::clone(&get.messages);
        let mut grpc = Grpc::new(ProstCodec::default())
            .apply_max_message_size_config(Some(self.message_bytes_max), None);
        async move {
            let answer = grpc.server_streaming(get, request).await;
            let messages = messages.lock().take();
            Ok(match messages {
                Some(messages) => answer.map(|_no_messages| Body::new(Answer::new(messages))),
                // It failed, and says so.
                None => answer,
            })
        }
        .boxed()
    }
}

/// The call, as tonic makes it: the messages of its answer are put aside.
struct Get {
    server: Arc<FlightServer>,
    messages: Arc<Mutex<Option<DataStream>>>,
}

impl ServerStreamingService<Ticket> for Get {
    type Response = FlightData;
    type ResponseStream = Empty<Result<FlightData, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Ticket>) -> Self::Future {
        let server = Arc::clone(&self.server);
        let place = Arc::clone(&self.messages);
        async move {
            let (headers, messages, extensions) = server.read(request).await?.into_parts();
            *place.lock() = Some(messages);
            Ok(Response::from_parts(headers, empty(), extensions))
        }
        .boxed()
    }
}

/// Messages as the body of an answer.
struct Answer {
    /// None when all were taken.
    messages: Option<DataStream>,
    frames: Frames,
    /// How it ended; none before, and once that was told.
    outcome: Option<Status>,
}

impl Answer {
    fn new(messages: DataStream) -> Self {
        Self {
            messages: Some(messages),
            frames: Frames::default(),
            outcome: None,
        }
    }

    fn end(&mut self, outcome: Status) {
        self.messages = None;
        self.outcome = Some(outcome);
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let mut is_waiting = false;
        // What is ready goes out together: small answers are one frame.
        while !this.frames.is_worth_sending()
            && let Some(messages) = &mut this.messages
        {
            match messages.poll_next_unpin(context) {
                Poll::Pending => {
                    is_waiting = true;
                    break;
                }
                Poll::Ready(Some(Ok(message))) => {
                    if let Err(status) = message.write_to(&mut this.frames) {
                        this.end(status);
                    }
                }
                Poll::Ready(Some(Err(status))) => this.end(status),
                Poll::Ready(None) => this.end(Status::ok("")),
            }
        }
        if let Some(frame) = this.frames.next() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if is_waiting {
            return Poll::Pending;
        }
        let Some(outcome) = this.outcome.take() else {
            return Poll::Ready(None);
        };
        let mut trailers = http::HeaderMap::new();
        outcome.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none() && self.outcome.is_none() && self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::channel::mpsc;
    use tonic::codegen::Body as _;

    use super::*;
    use crate::serve::flight::message::Message;

    async fn next(body: &mut Answer) -> Option<Frame<Bytes>> {
        poll_fn(|context| Pin::new(&mut *body).poll_frame(context))
            .await
            .map(|frame| frame.expect("no error of the transport"))
    }

    fn message(text: &'static str) -> Message {
        Message::of_header(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn what_is_there_goes_out_together_and_does_not_wait_for_more() {
        let (sender, messages) = mpsc::unbounded();
        let mut body = Answer::new(messages.boxed());
        for text in ["one", "two"] {
            sender.unbounded_send(Ok(message(text))).expect("read");
        }
        let frame = next(&mut body).await.expect("data").into_data();
        assert_eq!(frame.expect("data").len(), 2 * (5 + 2 + 3));
        assert!(next(&mut body).now_or_never().is_none(), "nothing is there");
        assert!(!body.is_end_stream());
        sender.unbounded_send(Ok(message("last"))).expect("read");
        drop(sender);
        let frame = next(&mut body).await.expect("data").into_data();
        assert_eq!(frame.expect("data").len(), 5 + 2 + 4);
        let end = next(&mut body).await.expect("an end").into_trailers();
        assert_eq!(end.expect("trailers")["grpc-status"], "0");
        assert!(body.is_end_stream());
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn an_error_is_told_behind_what_was_there() {
        let messages = [
            Ok(message("one")),
            Err(Status::data_loss("half")),
            Ok(message("not sent")),
        ];
        let mut body = Answer::new(futures::stream::iter(messages).boxed());
        assert!(next(&mut body).await.expect("data").is_data());
        let end = next(&mut body).await.expect("an end").into_trailers();
        let end = end.expect("trailers");
        assert_eq!(
            (&end["grpc-status"], &end["grpc-message"]),
            (
                &"15".parse().expect("a value"),
                &"half".parse().expect("a value")
            )
        );
        assert!(next(&mut body).await.is_none());
    }
}
