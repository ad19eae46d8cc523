package cluster_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

func testGit(t *testing.T, c *cluster.Cluster) {
	if err := c.CreateRepo(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	big := strings.Repeat(strings.Join(os.Environ(), "\n"), 200) // pushed in chunks
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(big), 0o600); err != nil {
		t.Fatal(err)
	}
	git("add", ".")
	git("commit", "-q", "-m", "first")
	git("-c", "http.postBuffer=1024", "push", "-q", c.GitURL("app"), "HEAD:main")
	if out := git("ls-remote", c.GitURL("app")); !strings.Contains(out, "refs/heads/main") {
		t.Error(out)
	}
	body, _, err := get(t.Context(), c.HTTPClient(), c.GitURLInCluster("app")+"/info/refs?service=git-upload-pack", "")
	if err != nil || !strings.Contains(body, "upload-pack") {
		t.Errorf("inside: %v %q", err, body)
	}
}

// testGitAuth pushes with a key over SSH, and to a private repository with and without the password.
func testGitAuth(t *testing.T, c *cluster.Cluster) {
	for _, name := range []string{"keyed", "private/closed"} {
		if err := c.CreateRepo(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		_, port, err := net.SplitHostPort(c.ForwardAddr("git-ssh"))
		if err != nil {
			return err
		}
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0",
			"GIT_SSH_COMMAND=ssh -F none -i "+dir+"/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile="+dir+"/known -p "+port)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(run("git", "init", "-q"))
	must(run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "first"))

	if run("git", "push", "-q", c.GitURL("private/closed"), "HEAD:main") == nil {
		t.Error("a push without a password has succeeded")
	}
	must(c.SetGitUser(t.Context(), "ann", "secret"))
	must(run("git", "push", "-q", strings.Replace(c.GitURL("private/closed"), "http://", "http://ann:secret@", 1), "HEAD:main"))

	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no ssh here")
	}
	must(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/key"))
	key, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	must(err)
	host, err := c.AuthorizeGitKey(t.Context(), string(key))
	must(err)
	addr, port, err := net.SplitHostPort(c.ForwardAddr("git-ssh"))
	must(err)
	must(os.WriteFile(filepath.Join(dir, "known"), []byte("["+addr+"]:"+port+" "+host+"\n"), 0o600))
	must(run("git", "push", "-q", "git@"+addr+":keyed", "HEAD:main"))
	must(run("git", "ls-remote", "--exit-code", c.GitURL("keyed"), "refs/heads/main"))
}

func testSlack(t *testing.T, c *cluster.Cluster) {
	post := func(u, kind, body string) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", kind)
		resp, err := c.HTTPClient().Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	for _, m := range []struct{ url, kind, body string }{
		{c.SlackURLInCluster() + "chat.postMessage", "application/x-www-form-urlencoded", "token=x&channel=C1&text=form"},
		{c.SlackURLInCluster() + "chat.postMessage", "application/json", `{"channel":"C1","text":"json","blocks":[]}`},
		{c.SlackWebhookURLInCluster(), "application/json", `{"text":"hook"}`},
	} {
		if code, err := post(m.url, m.kind, m.body); err != nil || code != http.StatusOK {
			t.Errorf("%s: %d %v", m.url, code, err)
		}
	}
	messages, err := c.SlackMessages(t.Context())
	if err != nil || len(messages) != 3 || messages[0].Text != "form" || messages[1].Channel != "C1" || messages[2].Method != "webhook" {
		t.Errorf("%+v %v", messages, err)
	}
	if err := c.SlackDown(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if code, err := post(c.SlackWebhookURLInCluster(), "application/json", `{}`); err != nil || code != http.StatusInternalServerError {
		t.Errorf("Slack is not down: %d %v", code, err)
	}
}
