"""Where an IMAP command ends, found before its grammar is read, so that a bad command can't desynchronise the stream.

RFC 9051 2.2, 4.3; RFC 7888 (LITERAL+); RFC 3516 (literal8); RFC 3502 (MULTIAPPEND).

Use, one command at a time (so one command is in flight and the rest waits in a bounded buffer):

    receiver.receive_data(data)            # pause the transport while not receiver.wants_data
    while (event := receiver.next_event()) is not None: ...

    Frame             parse_command(event, utf8=...) -> Command, or BadCommand -> send its response()
    NeedContinuation  send b"+ OK\\r\\n"
    AppendFrame       parse_append(event); then receiver.accept_literal() -> bytes to send (b"" for LITERAL+), or
                      receiver.refuse_literal() and send a tagged NO
    LiteralChunk      the message, in the pieces it came in; stop calling next_event() to slow the client down
    AppendEnd         check_append_end(event); commit, send the tagged OK
    ContinuationLine  after receiver.expect_line(): called when IDLE or AUTHENTICATE was answered with `+`
    Fault             send event.response; if event.fatal close

Set `receiver.limits` after login. Before STARTTLS (and COMPRESS) takes effect, `take_buffered()` must give b"": anything
else was injected in clear text, and the connection is to be closed.
"""
