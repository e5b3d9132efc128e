//! What becomes of a panic: the call that caused it fails, and no other.
//!
//! hyper serves all calls of a connection in one task, so that a panic in one of them would end its neighbours too, and tell
//! its own client nothing but that the connection broke. A panic is a defect of this program or of a library beneath it: it is
//! logged by the panic hook, and answered as an internal error.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

/// A service whose calls fail where they would panic.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S>(pub(super) S);

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, Request, Answer> Service<http::Request<Request>> for Guarded<S>
where
    S: Service<http::Request<Request>, Response = http::Response<Answer>, Error = Infallible>,
    S::Future: Send + 'static,
    Answer: http_body::Body<Data = Bytes> + Send + 'static,
    Answer::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Request>) -> Self::Future {
        let Ok(answer) = catch_unwind(AssertUnwindSafe(|| self.0.call(request))) else {
            return std::future::ready(Ok(defect().into_http())).boxed();
        };
        async move {
            Ok(match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(Ok(answer)) => answer.map(|body| Body::new(GuardedBody::new(body))),
                Err(_) => defect().into_http(),
            })
        }
        .boxed()
    }
}

fn defect() -> Status {
    Status::internal(
        "the server failed on this request, which is a defect of it: other requests are served as before",
    )
}

/// An answer that ends with an error where it would panic.
struct GuardedBody<B> {
    /// None once it ended.
    body: Option<Pin<Box<B>>>,
}

impl<B> GuardedBody<B> {
    fn new(body: B) -> Self {
        Self {
            body: Some(Box::pin(body)),
        }
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for GuardedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(context)));
        polled.unwrap_or_else(|_| {
            // What panicked half way is not polled again, nor trusted to be dropped in peace.
            let body = self.body.take();
            let _dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
            let (parts, ()) = defect().into_http::<()>().into_parts();
            let mut trailers = parts.headers;
            // What belongs to the head of an answer has no place at its end.
            trailers.remove(http::header::CONTENT_TYPE);
            Poll::Ready(Some(Ok(Frame::trailers(trailers))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body
            .as_ref()
            .map_or_else(http_body::SizeHint::default, |body| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tonic::codegen::Body as _;

    use super::*;

    /// Panics when it is called, or when its answer is read, as the path says.
    #[derive(Clone)]
    struct Panics;

    impl Service<http::Request<()>> for Panics {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<()>) -> Self::Future {
            assert_ne!(request.uri().path(), "/at-once");
            async move {
                assert_ne!(request.uri().path(), "/later");
                let frames = stream::iter([1, 2]).map(|number| -> Result<_, Status> {
                    assert_ne!(number, 2, "while it is read");
                    Ok(Frame::data(Bytes::from_static(b"first")))
                });
                Ok(http::Response::new(Body::new(Frames(frames.boxed()))))
            }
            .boxed()
        }
    }

    struct Frames(futures::stream::BoxStream<'static, Result<Frame<Bytes>, Status>>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.poll_next_unpin(context)
        }
    }

    use futures::StreamExt;

    async fn call(path: &str) -> http::Response<Body> {
        let request = http::Request::builder().uri(path).body(()).expect("a path");
        let Ok(answer) = Guarded(Panics).call(request).await;
        answer
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_of_its_own_call() {
        for path in ["/at-once", "/later"] {
            let answer = call(path).await;
            assert_eq!(answer.headers()["grpc-status"], "13", "{path}");
        }
        let mut body = std::pin::pin!(call("/while-reading").await.into_body());
        let mut frames = Vec::new();
        while let Some(frame) =
            std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
        {
            frames.push(frame.expect("no error of the transport"));
        }
        let [data, trailers] = frames.as_slice() else {
            panic!("{} frames", frames.len());
        };
        assert_eq!(
            data.data_ref().expect("data"),
            &Bytes::from_static(b"first")
        );
        assert_eq!(
            trailers.trailers_ref().expect("trailers")["grpc-status"],
            "13"
        );
    }
}
