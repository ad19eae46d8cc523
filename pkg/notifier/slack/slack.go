// Package slack posts notices to Slack: with a bot token through the Web API, without one through an incoming webhook.
package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackutilsx"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/notifier"
)

// Type is the name under which the notifier is registered.
const Type = "slack"

const (
	defaultTimeout = 10 * time.Second
	maxBody        = 1 << 20
	// What Slack shows; it refuses or cuts what is longer.
	maxTitle, maxText, maxField, maxFields = 300, 3000, 1000, 20
)

// Notifier posts to one channel.
type Notifier struct {
	cfg       notifier.Config
	api       *slack.Client // nil for an incoming webhook
	client    *http.Client
	transport *http.Transport
}

var (
	_ notifier.Notifier = (*Notifier)(nil)
	_ io.Closer         = (*Notifier)(nil)
)

// Constructor is New as the registry wants it.
func Constructor(cfg notifier.Config) (notifier.Notifier, error) { return New(cfg) }

// New makes a notifier. It sends nothing yet.
func New(cfg notifier.Config) (*Notifier, error) {
	if cfg.Token == "" && cfg.Address == "" {
		return nil, errors.New("give the Secret a key \"token\" (bot token) or \"address\" (incoming webhook)")
	}
	if cfg.Address != "" && !httpURL(cfg.Address) {
		return nil, errors.New("the address is not an http or https URL")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	n := &Notifier{cfg: cfg, transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
		TLSHandshakeTimeout:   cfg.Timeout,
		ResponseHeaderTimeout: cfg.Timeout,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       time.Minute,
	}}
	if cfg.Proxy != "" {
		if !httpURL(cfg.Proxy) {
			return nil, errors.New("the proxy is not an http or https URL")
		}
		proxy, err := url.Parse(cfg.Proxy)
		if err != nil {
			return nil, errors.New("the proxy is not a URL")
		}
		n.transport.Proxy = http.ProxyURL(proxy)
	}
	n.client = &http.Client{
		Transport:     boundedTransport{n.transport},
		Timeout:       cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if cfg.Token != "" {
		options := []slack.Option{slack.OptionHTTPClient(n.client)}
		if cfg.Address != "" {
			options = append(options, slack.OptionAPIURL(apiBase(cfg.Address)))
		}
		n.api = slack.New(cfg.Token, options...)
	}
	return n, nil
}

// Post sends one message.
func (n *Notifier) Post(ctx context.Context, m notifier.Message) error {
	title, attachment := render(m)
	var err error
	if n.api != nil {
		_, _, err = n.api.PostMessageContext(ctx, n.cfg.Channel,
			slack.MsgOptionText(title, false),
			slack.MsgOptionAttachments(attachment),
			slack.MsgOptionUsername(n.cfg.Username),
			slack.MsgOptionDisableLinkUnfurl(),
		)
	} else {
		err = slack.PostWebhookCustomHTTPContext(ctx, n.cfg.Address, n.client, &slack.WebhookMessage{
			Username: n.cfg.Username, Channel: n.cfg.Channel, Text: title, Attachments: []slack.Attachment{attachment},
		})
	}
	return n.classify(err)
}

// Close ends idle connections.
func (n *Notifier) Close() error {
	n.transport.CloseIdleConnections()
	return nil
}

// render returns the text and the coloured box below it. Everything is escaped: a commit message must not call @channel.
func render(m notifier.Message) (string, slack.Attachment) {
	title := escape(m.Title, maxTitle)
	a := slack.Attachment{
		Color:    color(m.Severity),
		Fallback: title,
		Text:     escape(m.Text, maxText),
		Footer:   escape("siskin · "+m.Canary.String(), maxTitle),
	}
	if !m.Time.IsZero() {
		a.Ts = json.Number(strconv.FormatInt(m.Time.Unix(), 10))
	}
	for i, f := range m.Fields {
		if i == maxFields {
			break
		}
		a.Fields = append(a.Fields, slack.AttachmentField{
			Title: escape(f.Name, maxTitle), Value: escape(f.Value, maxField), Short: f.Short,
		})
	}
	return title, a
}

func color(s siskinv1.AlertSeverity) string {
	switch s {
	case siskinv1.SeverityError:
		return "danger"
	case siskinv1.SeverityWarn:
		return "warning"
	case siskinv1.SeverityInfo:
		return "good"
	}
	return "good"
}

// escape cuts first, so that no entity is cut in two.
func escape(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	if utf8.RuneCountInString(s) > limit {
		s = string([]rune(s)[:limit-1]) + "…"
	}
	return slackutilsx.EscapeMessage(s)
}

// classify makes a typed error that holds neither the token nor the webhook's path.
func (n *Notifier) classify(err error) error {
	if err == nil {
		return nil
	}
	if limited, ok := errors.AsType[*slack.RateLimitedError](err); ok {
		return &notifier.RateLimitedError{RetryAfter: limited.RetryAfter}
	}
	if status, ok := errors.AsType[slack.StatusCodeError](err); ok {
		return ofStatus(status.Code)
	}
	if said, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return n.ofCode(said.Err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer from Slack in time")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return errors.New("no answer from Slack: " + n.redact(u.Err.Error()))
	}
	return errors.New("posting to Slack: " + n.redact(err.Error()))
}

func ofStatus(code int) error {
	text := fmt.Sprintf("Slack answered %d %s", code, http.StatusText(code))
	if code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout {
		return errors.New(text)
	}
	return fmt.Errorf("%w: %s: check the address", notifier.ErrRejected, text)
}

// ofCode tells Slack's own troubles from ours.
func (n *Notifier) ofCode(code string) error {
	switch code {
	case "ratelimited", "rate_limited":
		return &notifier.RateLimitedError{RetryAfter: 30 * time.Second}
	case "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org":
		return errors.New("Slack answered " + code)
	case "channel_not_found", "not_in_channel":
		return fmt.Errorf("%w: Slack answered %s: invite the bot to channel %q", notifier.ErrRejected, code, n.cfg.Channel)
	}
	return fmt.Errorf("%w: Slack answered %s", notifier.ErrRejected, n.redact(code))
}

// redact keeps secrets out of messages that others wrote.
func (n *Notifier) redact(s string) string {
	secrets := []string{n.cfg.Token, n.cfg.Address}
	for _, raw := range []string{n.cfg.Address, n.cfg.Proxy} {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		password, _ := u.User.Password()
		secrets = append(secrets, strings.Trim(u.RequestURI(), "/"), strings.Trim(u.Path, "/"), password)
	}
	for _, secret := range secrets {
		if len(secret) >= 8 {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	return strings.Join(strings.Fields(s), " ")
}

// apiBase accepts the address of a method, as Flagger wants it, too.
func apiBase(address string) string {
	return strings.TrimSuffix(strings.TrimSuffix(address, "/"), "/chat.postMessage") + "/"
}

func httpURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// boundedTransport ends an answer that is too large.
type boundedTransport struct{ next http.RoundTripper }

// RoundTrip bounds the answer's body.
func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}
