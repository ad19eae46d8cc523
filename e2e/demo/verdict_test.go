package main

import (
	"maps"
	"strings"
	"testing"
	"time"
)

const goodHash, badHash = "2166e315344373be25930b2fe78a589038e881b5", "4086f00a42fb70958b70b6043eddb8cc6482f752"

func told(title, hash string) notice {
	return notice{Title: "demo/podinfo: " + title, Fields: map[string]string{
		"Revision": "podinfo-1", "Image": "ghcr.io/stefanprodan/podinfo:6.9.2", "Commit": "main@" + hash[:12], "Author": author, "Change": "Greet",
		"Check": "request-success-rate", "Value": "86.98", "Limit": ">= 99",
	}}
}

func asTold() facts {
	at := time.Date(2026, 11, 20, 17, 0, 42, 0, time.UTC)
	return facts{
		Interval: 10 * time.Second,
		Good:     release{Version: "v2 good", Commit: goodHash, Took: 58 * time.Second, Phase: "Succeeded"},
		Bad: release{
			Version: "v3 bad", Commit: badHash, Took: 13 * time.Second, Phase: "Failed", Cause: "metric request-success-rate is 86.98 (limit >= 99)",
			StatusCommit: "main@sha1:" + badHash, StatusAuthor: author, DecidedAt: at, LastSeen: at.Add(-200 * time.Millisecond),
		},
		Stable: "main@sha1:" + goodHash,
		Users:  []tally{{Version: "v1", Total: 9}, {Version: "v2 good", Total: 9}, {Version: "v3 bad", Total: 5, ServerErrors: 1, ClientErrors: 1}},
		Slack:  []notice{told("New revision", goodHash), told("Promoted", goodHash), told("New revision", badHash), told("Rolling back", badHash)},
		Gateway: map[string]map[string]int{
			"podinfo-primary": {"200": 18}, "podinfo-canary": {"200": 3, "500": 1, "409": 1},
		},
	}
}

func TestVerdict(t *testing.T) {
	if all := judge(asTold()); !allOK(all) || len(all) != 10 {
		t.Fatalf("refused:\n%s", table(all, false))
	}
	for name, c := range map[string]struct {
		spoil func(*facts)
		what  string
	}{
		"the good version is taken back": {func(f *facts) { f.Good.Phase = "Failed" }, "the good version was promoted"},
		"the promotion is late":          {func(f *facts) { f.Good.Took = 71 * time.Second }, "the good version was promoted"},
		"the bad version is promoted":    {func(f *facts) { f.Bad.Phase = "Succeeded" }, "the bad version was rolled back"},
		"rolled back for another reason": {func(f *facts) { f.Bad.Cause = "the canary did not become ready" }, "the bad version was rolled back"},
		"the bad version lingers":        {func(f *facts) { f.Bad.LastSeen = f.Bad.DecidedAt.Add(6 * time.Second) }, "users were off the bad version soon"},
		"no rollback event":              {func(f *facts) { f.Bad.DecidedAt = time.Time{} }, "users were off the bad version soon"},
		"the gateway fails a user": {func(f *facts) {
			f.Users = append(f.Users, tally{Version: gatewayRow, Total: 1, ServerErrors: 1, Faults: 1})
		}, "no user request failed because of Siskin"},
		"nobody met the good version":          {func(f *facts) { f.Users[1].Total = 0 }, "no user request failed because of Siskin"},
		"the primary answers badly":            {func(f *facts) { f.Gateway["podinfo-primary"]["502"] = 1 }, "the gateway's own series agree"},
		"the bad version's errors are all 4xx": {func(f *facts) { f.Gateway["podinfo-canary"] = map[string]int{"409": 2} }, "the gateway's own series agree"},
		"no series":                            {func(f *facts) { f.Gateway = nil }, "the gateway's own series agree"},
		"another stable commit":                {func(f *facts) { f.Stable = "main@sha1:" + badHash }, "status names the commits and their author"},
		"no author":                            {func(f *facts) { f.Bad.StatusAuthor = "" }, "status names the commits and their author"},
		"no promotion notice":                  {func(f *facts) { f.Slack[1].Title = "demo/podinfo: Promoting" }, "Slack: promoted, v2 good"},
		"a notice of another commit":           {func(f *facts) { f.Slack[3].Fields["Commit"] = "main@" + goodHash[:12] }, "Slack: rolling back, v3 bad"},
		"a notice without the limit":           {func(f *facts) { delete(f.Slack[3].Fields, "Limit") }, "Slack: rolling back, v3 bad"},
		"a notice without the author":          {func(f *facts) { delete(f.Slack[3].Fields, "Author") }, "Slack: rolling back, v3 bad"},
	} {
		t.Run(name, func(t *testing.T) {
			f := asTold()
			c.spoil(&f)
			found := false
			for _, one := range judge(f) {
				if one.OK == (one.What == c.what) {
					t.Errorf("%q: ok %t: %s", one.What, one.OK, one.Detail)
				}
				found = found || one.What == c.what
			}
			if !found {
				t.Errorf("no finding %q", c.what)
			}
		})
	}
	if out := table([]finding{{OK: true, What: "a", Detail: "x"}, {What: "bb", Detail: "y"}}, false); out != "  ok    a   x\n  FAIL  bb  y\n" {
		t.Errorf("the table is %q", out)
	}
}

// What real podinfo and Traefik answer, as seen.
func TestErrorsAreAttributed(t *testing.T) {
	const bad = "v3 bad"
	for name, c := range map[string]struct {
		status  int
		body    string
		suspect string
		version string
		ok      bool
	}{
		"an answer":                     {200, `{"message": "v2 good", "version": "6.9.2"}`, bad, "v2 good", true},
		"an answer of the bad version":  {200, `{"message": "v3 bad"}`, bad, bad, true},
		"a random error":                {500, "", bad, bad, false},
		"another random error":          {409, "", bad, bad, false},
		"an error before the bad one":   {500, "", "", gatewayRow, false},
		"no route":                      {404, "404 page not found\n", bad, gatewayRow, false},
		"no backend":                    {503, "no available server\n", bad, gatewayRow, false},
		"a backend that went away":      {502, "Bad Gateway", bad, gatewayRow, false},
		"an error of the gateway":       {500, "Internal Server Error", bad, gatewayRow, false},
		"an empty error of the gateway": {502, "", bad, gatewayRow, false},
		"no answer":                     {0, "connection refused", bad, gatewayRow, false},
		"something else":                {200, "<html>", bad, gatewayRow, false},
	} {
		t.Run(name, func(t *testing.T) {
			version, ok := attribute(c.status, []byte(c.body), c.suspect)
			if version != c.version || ok != c.ok {
				t.Errorf("got %q %t, want %q %t", version, ok, c.version, c.ok)
			}
		})
	}
}

func TestUsersCount(t *testing.T) {
	u, now := newUsers("", "", 1), time.Unix(1000, 0)
	u.count(now.Add(-4*time.Second), 200, []byte(`{"message":"v1"}`))
	u.count(now.Add(-2*time.Second), 200, []byte(`{"message":"v1"}`))
	u.count(now.Add(-time.Second), 502, []byte("Bad Gateway\n"))
	u.suspects("v3 bad")
	u.count(now.Add(-time.Second), 500, nil)
	u.count(now.Add(-time.Second), 400, nil)
	u.count(now.Add(-time.Second), 409, nil)
	u.count(now.Add(-time.Second), 0, []byte("connection refused"))
	all, faults := u.seen()
	if len(all) != 3 || all[0].Version != "v1" || all[0].Total != 2 || all[0].ServerErrors+all[0].ClientErrors != 0 {
		t.Errorf("got %+v", all)
	}
	got := map[string][2]int{}
	for _, t := range all {
		got[t.Version] = [2]int{t.ServerErrors, t.ClientErrors}
	}
	// A failed connection is a server error, an answer 4xx is none, as for the metric.
	if want := map[string][2]int{"v1": {0, 0}, "v3 bad": {1, 2}, gatewayRow: {2, 0}}; !maps.Equal(got, want) {
		t.Errorf("server errors and answers 4xx %v, want %v", got, want)
	}
	if len(faults) != 2 || !strings.Contains(faults[0], "status 502 gateway: Bad Gateway") {
		t.Errorf("faults %q", faults)
	}
	if rates := u.rates(now); rates["v1"] != 0.4 {
		t.Errorf("rates %v", rates)
	}
}

func TestFlags(t *testing.T) {
	env := func(once string) func(string) string { return func(string) string { return once } }
	for name, c := range map[string]struct {
		args []string
		once string
		want options
		bad  bool
	}{
		"interactive": {nil, "", options{rate: 50, interval: 10 * time.Second}, false},
		"ONCE=1":      {nil, "1", options{once: true, rate: 200, interval: 10 * time.Second}, false},
		"ONCE=0":      {nil, "0", options{rate: 50, interval: 10 * time.Second}, false},
		"all": {
			[]string{"--once", "--keep", "--rate=20", "--interval=30s"},
			"",
			options{once: true, keep: true, rate: 20, interval: 30 * time.Second},
			false,
		},
		"too fast":  {[]string{"--interval=1s"}, "", options{}, true},
		"no rate":   {[]string{"--rate=-1"}, "", options{}, true},
		"arguments": {[]string{"now"}, "", options{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(c.args, env(c.once), t.Output())
			if (err != nil) != c.bad || (err == nil && got != c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
