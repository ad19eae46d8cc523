package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// supported refuses the filters that this gateway does not know. Mirrors are a rule's own.
func supported(f gatewayv1.HTTPRouteFilter) error {
	switch {
	case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil,
		f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil,
		f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
		return nil
	}
	return fmt.Errorf("%w: filter %s", errUnsupported, f.Type)
}

// rewriteRequest applies the filters of a rule and of a backend to a request that goes out.
func rewriteRequest(out *http.Request, prefix string, lists ...[]gatewayv1.HTTPRouteFilter) {
	for _, list := range lists {
		for _, f := range list {
			if f.RequestHeaderModifier != nil {
				modify(out.Header, f.RequestHeaderModifier)
			}
			if f.URLRewrite != nil {
				rewriteURL(out, prefix, f.URLRewrite)
			}
		}
	}
}

// rewriteResponse applies the filters to an answer. A backend's come first: they are nearer to it.
func rewriteResponse(h http.Header, lists ...[]gatewayv1.HTTPRouteFilter) {
	for _, list := range lists {
		for _, f := range list {
			if f.ResponseHeaderModifier != nil {
				modify(h, f.ResponseHeaderModifier)
			}
		}
	}
}

func modify(h http.Header, f *gatewayv1.HTTPHeaderFilter) {
	for _, set := range f.Set {
		h.Set(string(set.Name), set.Value)
	}
	for _, add := range f.Add {
		h.Add(string(add.Name), add.Value)
	}
	for _, name := range f.Remove {
		h.Del(name)
	}
}

func rewriteURL(out *http.Request, prefix string, f *gatewayv1.HTTPURLRewriteFilter) {
	if f.Hostname != nil {
		out.Host = string(*f.Hostname)
	}
	switch {
	case f.Path == nil:
	case f.Path.ReplaceFullPath != nil:
		setPath(out.URL, *f.Path.ReplaceFullPath)
	case f.Path.ReplacePrefixMatch != nil:
		rest := strings.TrimPrefix(out.URL.Path, strings.TrimSuffix(prefix, "/"))
		path := strings.TrimSuffix(*f.Path.ReplacePrefixMatch, "/") + rest
		if path == "" {
			path = "/"
		}
		setPath(out.URL, path)
	}
}

func setPath(u *url.URL, path string) { u.Path, u.RawPath = path, "" }
