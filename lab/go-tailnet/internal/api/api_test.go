package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

type tailnet struct{ nodes []Node }

func (t *tailnet) Nodes() []Node { return t.nodes }

func (t *tailnet) Delete(id string) bool {
	before := len(t.nodes)
	t.nodes = slices.DeleteFunc(t.nodes, func(n Node) bool { return n.ID == id })
	return len(t.nodes) < before
}

var good = Credentials{ID: "lab", Secret: "right"}

func call(t *testing.T, h http.Handler, request *http.Request, answer any) int {
	t.Helper()
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	if answer != nil {
		if err := json.Unmarshal(recorder.Body.Bytes(), answer); err != nil {
			t.Fatalf("%s: %v", recorder.Body, err)
		}
	}
	return recorder.Code
}

func tokenFor(t *testing.T, h http.Handler, c Credentials, basic bool) (string, int) {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if !basic {
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret)
	}
	request := httptest.NewRequest("POST", "/api/v2/oauth/token", strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		request.SetBasicAuth(c.ID, c.Secret)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	code := call(t, h, request, &answer)
	return answer.Token, code
}

func TestOnlyTheRightSecretGetsAToken(t *testing.T) {
	h := Handler(good, &tailnet{})
	for _, basic := range []bool{true, false} {
		if token, code := tokenFor(t, h, good, basic); code != http.StatusOK || token == "" {
			t.Errorf("basic %v: %d, token %q", basic, code, token)
		}
		for _, bad := range []Credentials{{"lab", "wrong"}, {"other", "right"}, {"lab", ""}, {}} {
			if token, code := tokenFor(t, h, bad, basic); code != http.StatusUnauthorized || token != "" {
				t.Errorf("%v, basic %v: %d, token %q", bad, basic, code, token)
			}
		}
	}
}

func TestNothingWithoutAToken(t *testing.T) {
	net := &tailnet{nodes: []Node{{ID: "n1"}}}
	h := Handler(good, net)
	for _, header := range []string{"", "Bearer ", "Bearer wrong"} {
		for _, request := range []*http.Request{
			httptest.NewRequest("POST", "/api/v2/tailnet/-/keys", strings.NewReader("{}")),
			httptest.NewRequest("DELETE", "/api/v2/device/n1", nil),
		} {
			request.Header.Set("Authorization", header)
			if code := call(t, h, request, nil); code != http.StatusUnauthorized {
				t.Errorf("%s %s with %q: %d", request.Method, request.URL, header, code)
			}
		}
	}
	if len(net.nodes) != 1 {
		t.Error("a device was deleted without a token")
	}
}

func TestKeysAndDevices(t *testing.T) {
	net := &tailnet{nodes: []Node{{ID: "n1"}, {ID: "n2"}}}
	h := Handler(good, net)
	token, _ := tokenFor(t, h, good, true)
	authorized := func(method, path, body string) *http.Request {
		request := httptest.NewRequest(method, path, strings.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+token)
		return request
	}
	var key struct{ ID, Key string }
	body := `{"capabilities": {"devices": {"create": {"tags": ["tag:gw-arr"]}}}}`
	if code := call(t, h, authorized("POST", "/api/v2/tailnet/-/keys", body), &key); code != 200 || key.Key == "" {
		t.Errorf("key: %d %+v", code, key)
	}
	var keys []Key
	call(t, h, httptest.NewRequest("GET", "/lab/keys", nil), &keys)
	if len(keys) != 1 || !slices.Equal(keys[0].Tags, []string{"tag:gw-arr"}) {
		t.Errorf("keys: %+v", keys)
	}
	if code := call(t, h, authorized("DELETE", "/api/v2/device/n1", ""), nil); code != 200 {
		t.Errorf("delete: %d", code)
	}
	if code := call(t, h, authorized("DELETE", "/api/v2/device/n1", ""), nil); code != 404 {
		t.Errorf("delete again: %d", code)
	}
	var nodes []Node
	call(t, h, httptest.NewRequest("GET", "/lab/nodes", nil), &nodes)
	if len(nodes) != 1 || nodes[0].ID != "n2" {
		t.Errorf("nodes: %+v", nodes)
	}
	if code := call(t, h, authorized("GET", "/api/v2/tailnet/-/devices", ""), nil); code != 404 {
		t.Errorf("a call nobody wrote: %d", code)
	}
}
