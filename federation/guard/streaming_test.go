package guard_test

import (
	"bufio"
	"io"
	"net/http"
	"testing"
)

// What is streamed arrives while it is streamed, both ways: nobody waits for the
// end of a body.
func TestBodiesAreStreamed(t *testing.T) {
	t.Parallel()
	for name, constraints := range map[string]object{"freely": nil, "within max_response_size": {"max_response_size": 1000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := sign(t, nil, limited(constraints))
			if constraints == nil {
				token = sign(t, nil, claims())
			}
			w := proxied(t, options(t))
			w.resource.stream = func(out http.ResponseWriter, in *http.Request) {
				control := http.NewResponseController(out)
				if err := control.EnableFullDuplex(); err != nil {
					t.Error(err)
				}
				lines := bufio.NewScanner(in.Body)
				for lines.Scan() {
					_, _ = io.WriteString(out, "heard "+lines.Text()+"\n")
					_ = control.Flush()
				}
			}
			reader, writer := io.Pipe()
			r := w.request(http.MethodPost, "/search", reader)
			r.Header.Set("Authorization", "Bearer "+token)
			go func() { _, _ = io.WriteString(writer, "one\n") }()
			res, err := w.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			heard := bufio.NewReader(res.Body)
			for _, word := range []string{"one", "two", "three"} {
				line, err := heard.ReadString('\n')
				if err != nil || line != "heard "+word+"\n" {
					t.Fatalf("got %q, %v; want to hear %s before more is said", line, err, word)
				}
				if next := map[string]string{"one": "two", "two": "three"}[word]; next != "" {
					_, _ = io.WriteString(writer, next+"\n")
				}
			}
			_ = writer.Close()
			if rest, err := io.ReadAll(heard); err != nil || len(rest) > 0 {
				t.Errorf("got %q, %v at the end", rest, err)
			}
		})
	}
}
