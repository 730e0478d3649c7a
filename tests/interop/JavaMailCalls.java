// Calls of JavaMail, for test_javamail.py. Each line of stdin is {"call": name, "arguments": [...]}, where arguments are
// strings; each is answered with {"result": ...} or {"error": ...}. What a folder's listeners hear comes between them as
// {"event": ...}. Only strings are read, so that no JSON library is needed.

import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.regex.*;
import com.sun.mail.imap.*;
import javax.mail.*;
import javax.mail.event.*;
import javax.mail.internet.*;
import javax.mail.search.*;

public class JavaMailCalls {
    static final Pattern STRING = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"");
    static Session session;
    static Store store;
    static Folder folder;
    static Thread idling;

    static synchronized void say(String kind, Object value) {
        byte[] line = ("{\"" + kind + "\": " + json(value) + "}\n").getBytes(StandardCharsets.UTF_8);
        System.out.write(line, 0, line.length);
        System.out.flush();
    }

    static String json(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
        if (value instanceof Object[]) value = Arrays.asList((Object[]) value);
        StringJoiner joined = new StringJoiner(", ", "[", "]");
        if (value instanceof Collection) {
            for (Object one : (Collection<?>) value) joined.add(json(one));
            return joined.toString();
        }
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : value.toString().toCharArray()) {
            if (c < ' ' || c == '"' || c == '\\') quoted.append(String.format("\\u%04x", (int) c));
            else quoted.append(c);
        }
        return quoted.append('"').toString();
    }

    static String unquoted(String text) {
        Matcher found = Pattern.compile("\\\\(u([0-9a-f]{4})|.)").matcher(text);
        return found.replaceAll(m -> Matcher.quoteReplacement(
            m.group(2) != null ? String.valueOf((char) Integer.parseInt(m.group(2), 16)) : m.group(1)));
    }

    static Object connect(String protocol, String port, String user, String password) throws Exception {
        Properties properties = new Properties();
        String prefix = "mail." + protocol + ".";
        properties.put(prefix + "ssl.checkserveridentity", "true");
        if (!protocol.endsWith("s")) {
            properties.put(prefix + "starttls.enable", "true");
            properties.put(prefix + "starttls.required", "true");
        }
        session = Session.getInstance(properties);
        store = session.getStore(protocol);
        store.connect("localhost", Integer.parseInt(port), user, password);
        return true;
    }

    static Object open(String name) throws Exception {
        folder = store.getFolder(name);
        folder.addMessageCountListener(new MessageCountAdapter() {
            public void messagesAdded(MessageCountEvent event) { say("event", "added " + event.getMessages().length); }
            public void messagesRemoved(MessageCountEvent event) {
                say("event", "removed " + event.getMessages()[0].getMessageNumber());
            }
        });
        folder.addMessageChangedListener(event -> {
            try {
                say("event", "changed " + event.getMessage().getMessageNumber() + " " + flags(event.getMessage()));
            } catch (MessagingException error) {
                say("event", error.toString());
            }
        });
        folder.open(Folder.READ_WRITE);
        return folder.getMessageCount();
    }

    static String flags(Message message) throws MessagingException {
        TreeSet<String> names = new TreeSet<>(Arrays.asList(message.getFlags().getUserFlags()));
        for (Flags.Flag flag : message.getFlags().getSystemFlags()) {
            if (flag == Flags.Flag.SEEN) names.add("seen");
            if (flag == Flags.Flag.FLAGGED) names.add("flagged");
        }
        return String.join(",", names);
    }

    static Object append(String name, String path, String keyword) throws Exception {
        try (InputStream stream = new BufferedInputStream(new FileInputStream(path))) {
            MimeMessage message = new MimeMessage(session, stream) {
                protected void updateHeaders() { }
            };
            if (!keyword.isEmpty()) message.setFlags(new Flags(keyword), true);
            return ((IMAPFolder) store.getFolder(name)).appendUIDMessages(new Message[] {message})[0].uid;
        }
    }

    static Object download(String number, String path) throws Exception {
        try (OutputStream stream = new BufferedOutputStream(new FileOutputStream(path))) {
            folder.getMessage(Integer.parseInt(number)).writeTo(stream);
        }
        return folder.getMessage(Integer.parseInt(number)).getSize();
    }

    // Every part by BODYSTRUCTURE: type, size, encoding, file name; text as the client decodes it.
    static void parts(Part part, List<Object> found) throws Exception {
        Object content = part.getContent();
        String text = content instanceof String ? (String) content : "";
        String name = part.getFileName() == null ? "" : MimeUtility.decodeText(part.getFileName());
        found.add(new Object[] {new ContentType(part.getContentType()).getBaseType().toLowerCase(), name, text.trim()});
        if (content instanceof Multipart) {
            for (int i = 0; i < ((Multipart) content).getCount(); i++) parts(((Multipart) content).getBodyPart(i), found);
        } else if (content instanceof Part) {
            parts((Part) content, found);
        }
    }

    static Object folders() throws Exception {
        List<Object> found = new ArrayList<>();
        for (Folder one : store.getDefaultFolder().list("*")) {
            String uses = String.join(" ", ((IMAPFolder) one).getAttributes());
            found.add(new Object[] {one.getFullName(), uses});
        }
        return found;
    }

    static Object search(SearchTerm term) throws Exception {
        List<Object> found = new ArrayList<>();
        for (Message message : folder.search(term)) found.add(((UIDFolder) folder).getUID(message));
        return found;
    }

    static Object uids() throws Exception {
        List<Object> found = new ArrayList<>();
        for (Message message : ((UIDFolder) folder).getMessagesByUID(1, UIDFolder.LASTUID)) {
            found.add(new Object[] {((UIDFolder) folder).getUID(message), flags(message), message.getSubject()});
        }
        return found;
    }

    static Object idle() {
        IMAPFolder selected = (IMAPFolder) folder;
        idling = new Thread(() -> {
            try {
                while (selected.isOpen()) selected.idle();
            } catch (MessagingException closed) {
                // the folder was closed under it, which is how this ends
            }
        });
        idling.setDaemon(true);
        idling.start();
        return true;
    }

    static Object call(String name, List<String> a) throws Exception {
        switch (name) {
            case "connect": return connect(a.get(0), a.get(1), a.get(2), a.get(3));
            case "folders": return folders();
            case "create": {
                Folder made = store.getFolder(a.get(0));
                boolean done = made.create(Folder.HOLDS_MESSAGES);
                made.setSubscribed(true);
                return done;
            }
            case "rename": return store.getFolder(a.get(0)).renameTo(store.getFolder(a.get(1)));
            case "remove": return store.getFolder(a.get(0)).delete(true);
            case "append": return append(a.get(0), a.get(1), a.get(2));
            case "open": return open(a.get(0));
            case "validity": return ((UIDFolder) folder).getUIDValidity();
            case "subject": return folder.getMessage(Integer.parseInt(a.get(0))).getSubject();
            case "parts": {
                List<Object> found = new ArrayList<>();
                parts(folder.getMessage(Integer.parseInt(a.get(0))), found);
                return found;
            }
            case "search subject": return search(new SubjectTerm(a.get(0)));
            case "search body": return search(new BodyTerm(a.get(0)));
            case "search keyword": return search(new FlagTerm(new Flags(a.get(0)), true));
            case "flag": folder.getMessage(Integer.parseInt(a.get(0))).setFlag(Flags.Flag.FLAGGED, true); return true;
            case "delete": folder.getMessage(Integer.parseInt(a.get(0))).setFlag(Flags.Flag.DELETED, true); return true;
            case "move": {
                Message[] one = {folder.getMessage(Integer.parseInt(a.get(0)))};
                ((IMAPFolder) folder).moveMessages(one, store.getFolder(a.get(1)));
                return true;
            }
            case "uids": return uids();
            case "uidl": return ((com.sun.mail.pop3.POP3Folder) folder).getUID(folder.getMessage(Integer.parseInt(a.get(0))));
            case "download": return download(a.get(0), a.get(1));
            case "idle": return idle();
            case "count": return folder.getMessageCount();
            case "close": folder.close(true); return true;
            case "logout": store.close(); return true;
            default: throw new IllegalArgumentException(name);
        }
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            List<String> strings = new ArrayList<>();
            Matcher found = STRING.matcher(line);
            while (found.find()) strings.add(unquoted(found.group(1)));
            if (strings.isEmpty()) continue;
            try {
                // "call", its name, "arguments", and those
                say("result", call(strings.get(1), strings.subList(3, strings.size())));
            } catch (Exception error) {
                say("error", error.toString());
            }
        }
    }
}
