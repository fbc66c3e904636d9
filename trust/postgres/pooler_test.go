package postgres_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/postgres"
)

// wiretap stands where a pooler would and notes what a pooler in transaction
// mode would not bear: anything that a session has to remember.
type wiretap struct {
	listener net.Listener
	server   string
	work     errgroup.Group

	mu       sync.Mutex
	sessions int
	messages int
	faults   []string
}

// tap returns a DSN that leads through a wiretap.
func tap(t *testing.T, dsn string) (*wiretap, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{listener: l, server: u.Host}
	w.work.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close()
		_ = w.work.Wait() // connections end as the store's do
	})
	u.Host = l.Addr().String()
	return w, u.String()
}

func (w *wiretap) accept() error {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return err
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", w.server)
		if err != nil {
			return err
		}
		w.work.Go(func() error {
			defer client.Close()
			_, err := io.Copy(client, server)
			return err
		})
		w.work.Go(func() error {
			defer server.Close()
			return w.listen(client, server)
		})
	}
}

// listen passes on what the client says, message by message.
func (w *wiretap) listen(client io.Reader, server io.Writer) error {
	for head := make([]byte, 4); ; head = make([]byte, 5) {
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[len(head)-4:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return err
		}
		if len(head) == 4 {
			w.startup(body)
		} else {
			w.message(head[0], body)
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return err
		}
	}
}

func (w *wiretap) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// startup looks at the parameters of a session, of which a pooler allows few.
func (w *wiretap) startup(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions++
	fields := strings.Split(string(body[4:]), "\x00")
	for i := 0; i+1 < len(fields) && fields[i] != ""; i += 2 {
		if !slices.Contains([]string{"user", "database", "application_name", "client_encoding"}, fields[i]) {
			w.fault("session parameter %s", fields[i])
		}
	}
}

func (w *wiretap) message(kind byte, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages++
	switch kind {
	case 'P', 'C', 'D': // Parse; Close and Describe, of a statement or a portal
		if kind != 'P' {
			body = body[1:]
		}
		if name, _, _ := bytes.Cut(body, []byte{0}); len(name) > 0 {
			w.fault("%c of a statement named %s", kind, name)
		}
		w.text(body)
	case 'B': // Bind: a portal, then a statement
		if parts := bytes.SplitN(body, []byte{0}, 3); len(parts[0])+len(parts[1]) > 0 {
			w.fault("bind of %s to %s", parts[1], parts[0])
		}
	case 'Q':
		w.text(append([]byte{0}, body...))
	}
}

// text refuses statements that outlive their transaction.
func (w *wiretap) text(named []byte) {
	_, text, _ := bytes.Cut(named, []byte{0})
	for _, verb := range []string{"set ", "listen", "unlisten", "prepare", "declare", "discard", "create", "select pg_advisory_lock"} {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(text))), verb) {
			w.fault("statement %.60q", text)
		}
	}
}

// Behind a pooler in transaction mode nothing may depend on a session.
func TestNothingDependsOnASession(t *testing.T) {
	t.Parallel()
	direct := pg.New(t)
	wire, dsn := tap(t, direct)
	store := mustOpen(t, postgres.Options{DSN: dsn, DirectDSN: direct, Schema: "acme", Acquire: time.Minute, Timeout: time.Minute})
	l := trust.NewLedger(store, trust.LedgerOptions{Timeout: time.Minute})
	for i := range trust.Revision(3) {
		if _, err := store.Apply(t.Context(), change(i)); err != nil {
			t.Fatal(err)
		}
		e := entry(fmt.Sprint(i))
		e.Seen.Revision = i + 1
		out, err := l.Commit(t.Context(), e)
		if err != nil || out.Status != trust.Committed {
			t.Fatalf("Commit = %+v, %v", out, err)
		}
		if _, err := store.Record(t.Context(), out.At); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	if _, err := store.InitKeys(t.Context(), []trust.KeyRecord{{ID: "a", Use: trust.KeyMAC, Sealed: []byte{1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Expire(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Records(t.Context(), audit.Position{}, 10); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	if wire.sessions == 0 || wire.messages < 50 {
		t.Errorf("%d sessions and %d messages were overheard: the store went around", wire.sessions, wire.messages)
	}
	for _, f := range wire.faults {
		t.Error(f)
	}
}
