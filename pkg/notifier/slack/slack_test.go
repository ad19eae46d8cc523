package slack_test

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack/slacktest"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/notifier"
	"github.com/siskin-dev/siskin/pkg/notifier/notifiertest"
	"github.com/siskin-dev/siskin/pkg/notifier/slack"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestContract(t *testing.T) {
	t.Run("bot token", func(t *testing.T) {
		notifiertest.RunContract(t, notifiertest.Dialect{
			New: slack.Constructor, Path: "/api/", Config: notifier.Config{Token: "xoxb-secret-token", Channel: "general"},
			Secrets: []string{"xoxb-secret-token"}, Accepted: `{"ok":true}`, Rejected: `{"ok":false,"error":"invalid_auth"}`,
		})
	})
	t.Run("incoming webhook", func(t *testing.T) {
		notifiertest.RunContract(t, notifiertest.Dialect{
			New: slack.Constructor, Path: "/services/T000/B000/verysecret", Secrets: []string{"verysecret", "B000"}, Accepted: "ok",
		})
	})
}

func TestPayloads(t *testing.T) {
	for name, cfg := range map[string]notifier.Config{
		"api":     {Token: "xoxb-1", Channel: "releases", Username: "siskin"},
		"webhook": {Channel: "releases", Username: "siskin"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = pretty(t, r, body)
				_, _ = io.WriteString(w, `{"ok":true}`)
			}))
			defer s.Close()
			cfg.Address = s.URL + "/"
			n, err := slack.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = n.Close() }()
			if err := n.Post(t.Context(), notifiertest.Message()); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// pretty shows a form or a JSON body as indented JSON.
func pretty(t *testing.T, r *http.Request, body []byte) []byte {
	t.Helper()
	shown := map[string]any{"path": r.URL.Path}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &shown); err != nil {
			t.Error(err)
		}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("channel") == "" {
		form = nil // no form, but JSON
	}
	for k := range form {
		var v any = form.Get(k)
		if k == "attachments" {
			_ = json.Unmarshal([]byte(form.Get(k)), &v)
		}
		shown[k] = v
	}
	out, err := json.MarshalIndent(shown, "", "  ")
	if err != nil {
		t.Error(err)
	}
	return append(out, '\n')
}

// slacktest decodes attachments twice, so a stock server refuses a text with a percent sign; it also records no posted
// message, so a handler of our own does.
func TestSlacksOwnTestServerTakesTheMessage(t *testing.T) {
	var seen []string
	recording := slacktest.NewTestServer(func(c slacktest.Customize) {
		c.Handle("/chat.postMessage", func(w http.ResponseWriter, r *http.Request) {
			seen = append(seen, r.FormValue("channel")+": "+r.FormValue("text"))
			_, _ = io.WriteString(w, `{"ok":true,"channel":"C1","ts":"1"}`)
		})
	})
	stock := slacktest.NewTestServer()
	for _, s := range []*slacktest.Server{recording, stock} {
		s.Start()
		defer s.Stop()
		for _, address := range []string{s.GetAPIURL(), strings.TrimSuffix(s.GetAPIURL(), "/"), s.GetAPIURL() + "chat.postMessage"} {
			n, err := slack.New(notifier.Config{Address: address, Token: "xoxb-1", Channel: "general"})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Post(t.Context(), notifier.Message{Title: "Promoted", Severity: siskinv1.SeverityInfo}); err != nil {
				t.Errorf("%s: %v", address, err)
			}
			_ = n.Close()
		}
	}
	if diff := cmp.Diff([]string{"general: Promoted", "general: Promoted", "general: Promoted"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for name, cfg := range map[string]notifier.Config{
		"nothing":      {},
		"not a URL":    {Address: "hooks.slack.com/services/x"},
		"a bad proxy":  {Token: "t", Proxy: "proxy:8080"},
		"a bad scheme": {Address: "file:///etc/passwd"},
	} {
		if _, err := slack.New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("title", "text <!here> & *b*", "field")
	f.Add(strings.Repeat("é", 400), strings.Repeat("&", 4000), "\xff\xfe")
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
	}))
	defer s.Close()
	n, err := slack.New(notifier.Config{Address: s.URL})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, title, text, field string) {
		if err := n.Post(t.Context(), notifier.Message{Title: title, Text: text, Fields: []notifier.Field{{Name: field, Value: text}}}); err != nil {
			t.Error(err)
		}
		var m struct{ Text string }
		if err := json.Unmarshal([]byte(got), &m); err != nil {
			t.Error(err)
		}
		if strings.ContainsAny(m.Text, "<>") {
			t.Errorf("not escaped: %q", m.Text)
		}
	})
}
