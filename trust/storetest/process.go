package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
)

// A child process is told its role and database by environment, and does until
// its input ends or it is killed what the role says.
const (
	envRole     = "COMITY_STORETEST_ROLE"
	envLocation = "COMITY_STORETEST_LOCATION"

	roleApply  = "apply"  // one change per line read; answers with the revision
	roleCommit = "commit" // entries without end; says which are acknowledged
)

// Main runs a package's tests, or the child's part when this process is one.
// Call it from TestMain.
func Main(m *testing.M, b Backend) {
	role := os.Getenv(envRole)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := child(role, os.Getenv(envLocation), b); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(role, location string, b Backend) error {
	ctx := context.Background()
	store, err := b.Open(ctx, location, FeedAll)
	if err != nil {
		return err
	}
	defer store.Close()
	switch role {
	case roleApply:
		return childApply(ctx, store)
	case roleCommit:
		return childCommit(ctx, store)
	}
	return fmt.Errorf("unknown role %q", role)
}

func childApply(ctx context.Context, store trust.Store) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		to, err := applyNext(ctx, store, increment)
		if err != nil {
			return err
		}
		fmt.Println(to)
	}
	return in.Err()
}

// acknowledged is what a child was told to be durable.
type acknowledged struct {
	Writer uint32
	Seq    uint64
	ID     string
}

func childCommit(ctx context.Context, store trust.Store) error {
	l := trust.NewLedger(store, trust.LedgerOptions{})
	defer l.Close()
	var group errgroup.Group
	var out sync.Mutex
	for worker := range 8 {
		group.Go(func() error {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), worker, i)
				o, err := l.Commit(ctx, entry(once(id)))
				if err != nil {
					return err
				}
				out.Lock()
				err = json.NewEncoder(os.Stdout).Encode(acknowledged{o.At.Writer, o.At.Seq, id})
				out.Unlock()
				if err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// process is a child that runs.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (s suite) start(t *testing.T, role, location string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), envRole+"="+role, envLocation+"="+location)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// say tells the child a line.
func (p *process) say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatal(err)
	}
}

// hear waits for a line of the child.
func (p *process) hear() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the child ended: %v", err)
	}
	return line[:len(line)-1]
}

// kill ends the child as a crash would, and returns what it said before.
func (p *process) kill() (rest []byte) {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	rest, err := io.ReadAll(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	return rest
}

// end lets the child finish; one that was killed has.
func (p *process) end() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}
