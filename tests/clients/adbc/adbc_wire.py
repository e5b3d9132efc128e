"""A proxy that remembers the calls that pass through it, and just enough of protobuf to look into them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc

SERVICE = "/arrow.flight.protocol.FlightService/"

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Call:
    """One call: what the client sent, and what the server answered."""

    method: str
    headers: dict
    # Seconds until the deadline that the client gave, or None.
    deadline: float | None
    requests: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    answer_headers: dict = field(default_factory=dict)
    trailers: dict = field(default_factory=dict)
    code: grpc.StatusCode | None = None

    def action(self):
        """The type of the action that the call asks for."""
        return fields(self.requests[0])[1][0].decode()


class Wire(grpc.GenericRpcHandler):
    """Passes every call on to a server, and keeps it in `calls`."""

    def __init__(self, address):
        self.calls = []
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(address, options=_UNLIMITED)
        self._server = grpc.server(ThreadPoolExecutor(32), options=_UNLIMITED)
        self._server.add_generic_rpc_handlers([self])
        self.uri = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stop(grace=None).wait()
        self._channel.close()

    def of(self, method):
        """The calls of `method`, in the order in which they came."""
        with self._lock:
            return [call for call in self.calls if call.method == method]

    def actions(self):
        """The types of the actions, in the order in which they came."""
        return [call.action() for call in self.of("DoAction")]

    def service(self, details):
        # A unary call is a stream of one message, so that one handler serves all of them.
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._pass_on(details.method, requests, context))

    def _pass_on(self, path, requests, context):
        headers = [(name, value) for name, value in context.invocation_metadata() if name != "user-agent"]
        remaining = context.time_remaining()
        # Without a deadline it is what is left of all time.
        deadline = remaining if remaining is not None and remaining < 1e6 else None
        call = Call(path.removeprefix(SERVICE), dict(headers), deadline)
        with self._lock:
            self.calls.append(call)
        upstream = self._channel.stream_stream(path)(_kept(requests, call.requests), metadata=headers, timeout=deadline)
        context.add_callback(upstream.cancel)
        try:
            call.answer_headers = dict(upstream.initial_metadata())
            context.send_initial_metadata(upstream.initial_metadata())
            for answer in upstream:
                call.answers.append(answer)
                yield answer
        except grpc.RpcError:
            pass
        call.code = upstream.code()
        call.trailers = dict(upstream.trailing_metadata())
        context.set_trailing_metadata(upstream.trailing_metadata())
        context.set_code(upstream.code())
        context.set_details(upstream.details())


def _kept(requests, kept):
    for request in requests:
        kept.append(request)
        yield request


def fields(message):
    """The fields of a protobuf message by number, each a list: numbers, or bytes."""
    found, position = {}, 0
    while position < len(message):
        tag, position = _varint(message, position)
        match tag & 7:
            case 0:
                value, position = _varint(message, position)
            case 1:
                value, position = message[position : position + 8], position + 8
            case 2:
                length, position = _varint(message, position)
                value, position = message[position : position + length], position + length
            case 5:
                value, position = message[position : position + 4], position + 4
            case kind:
                raise ValueError(f"a field of kind {kind}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(message, position):
    number, shift = 0, 0
    while True:
        byte = message[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position


def encoded(number, value):
    """A field of a protobuf message: text, bytes, or a number."""
    if isinstance(value, int):
        return _encoded_varint(number << 3) + _encoded_varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _encoded_varint(number << 3 | 2) + _encoded_varint(len(value)) + value


def _encoded_varint(number):
    octets = bytearray()
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def command(name, body=b""):
    """A command of Flight SQL, as descriptors carry it."""
    return encoded(1, f"type.googleapis.com/arrow.flight.protocol.sql.{name}") + encoded(2, body)
