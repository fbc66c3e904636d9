package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
	"github.com/spf13/cobra"
)

// maxTrustFile bounds what is read of one file, in bytes; the API takes no more.
const maxTrustFile = 64 << 20

// trustSource is a trust document and where each part of it was written.
type trustSource struct {
	doc   client.Document
	name  string // of a single file
	parts map[string][]origin
}

// origin is where the object at one place of a merged list was written.
type origin struct {
	file  string
	path  string // in that file, such as peers[2]
	lines strictyaml.Lines
}

// noTrustArgs refuses a trust file that is given without its flag, and says where
// it belongs. Cobra would call it an unknown command.
func noTrustArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError("name the trust file with -f: %s -f %s", cmd.CommandPath(), args[0])
}

// readTrust reads the file or folder that -f names; "-" is standard input. A
// single file is sent as it is, so that its digest and its lines are the
// server's too. A folder's files are put together list by list, in the order of
// their names.
func readTrust(cmd *cobra.Command, name string) (*trustSource, error) {
	if name == "" {
		return nil, usageError("name a trust file or a folder with -f")
	}
	if name == "-" {
		body, err := readCapped(cmd.InOrStdin())
		return &trustSource{name: "stdin", doc: client.Document{Body: body, MediaType: client.YAML, File: "-"}}, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readTrustFolder(name)
	}
	body, err := readFile(name)
	return &trustSource{name: name, doc: client.Document{Body: body, MediaType: client.YAML, File: name}}, err
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readCapped(f)
}

func readCapped(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxTrustFile+1))
	if err == nil && len(body) > maxTrustFile {
		err = errors.New("the trust file is larger than 64 MiB")
	}
	return body, err
}

func readTrustFolder(dir string) (*trustSource, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	s := &trustSource{parts: map[string][]origin{}}
	var merged trust.File
	var problems settings.Problems
	files := 0
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			continue
		}
		files++
		path := filepath.Join(dir, e.Name())
		body, err := readFile(path)
		if err != nil {
			return nil, err
		}
		var f trust.File
		lines, found := strictyaml.Decode(body, &f)
		problems = append(problems, located(path, found)...)
		s.merge(&merged, &f, path, lines)
	}
	if files == 0 {
		return nil, fmt.Errorf("%s holds no .yaml, .yml or .json file", dir)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	body, err := json.Marshal(&merged)
	s.doc = client.Document{Body: body, MediaType: client.JSON}
	return s, err
}

func (s *trustSource) merge(into, f *trust.File, file string, lines strictyaml.Lines) {
	note := func(list string, n int) {
		for i := range n {
			s.parts[list] = append(s.parts[list], origin{file, fmt.Sprintf("%s[%d]", list, i), lines})
		}
	}
	note("peers", len(f.Peers))
	note("resources", len(f.Resources))
	note("clients", len(f.Clients))
	note("mappings", len(f.Mappings))
	note("policies", len(f.Policies))
	into.Peers = append(into.Peers, f.Peers...)
	into.Resources = append(into.Resources, f.Resources...)
	into.Clients = append(into.Clients, f.Clients...)
	into.Mappings = append(into.Mappings, f.Mappings...)
	into.Policies = append(into.Policies, f.Policies...)
}

// explain turns the defects that the server found into places in the files.
func (s *trustSource) explain(err error) error {
	problem, ok := errors.AsType[*client.Error](err)
	if !ok || len(problem.Problems) == 0 {
		return err
	}
	if s.parts == nil {
		return located(s.name, problem.Problems)
	}
	var out settings.Problems
	for _, p := range problem.Problems {
		out = append(out, s.locate(p))
	}
	return out
}

// locate finds the file of a path in the merged document.
func (s *trustSource) locate(p strictyaml.Problem) settings.Problem {
	list, rest, _ := strings.Cut(p.Path, "[")
	index, rest, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(s.parts[list]) {
		return settings.Problem{Path: p.Path, Message: p.Message}
	}
	from := s.parts[list][i]
	path := from.path + rest
	return settings.Problem{Origin: from.file, Line: from.lines.At(path), Path: path, Message: p.Message}
}

func located(file string, problems strictyaml.Problems) settings.Problems {
	var out settings.Problems
	for _, p := range problems {
		out = append(out, settings.Problem{Origin: file, Line: p.Line, Path: p.Path, Message: p.Message})
	}
	return out
}
