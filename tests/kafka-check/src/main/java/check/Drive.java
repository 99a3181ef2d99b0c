package check;

import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.FileRecords;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.SimpleRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.requests.ListOffsetsRequest;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.storage.log.FetchIsolation;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.checkpoint.CleanShutdownFileHandler;
import org.apache.kafka.storage.internals.checkpoint.OffsetCheckpointFile;
import org.apache.kafka.storage.internals.log.*;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ScheduledFuture;
import java.util.function.Supplier;
import java.util.zip.CRC32C;

/**
 * Drives Kafka's log class by lines on standard input, with a clock of its own; each is answered by
 * one line: what came of it, then the log's start, end and last stable offset. README.md has the words.
 */
public final class Drive {
    private static long now;

    private static final Time CLOCK = new Time() {
        public long milliseconds() { return now; }

        public long nanoseconds() { return now * 1_000_000; }

        public void sleep(long ms) { now += ms; }

        public void waitObject(Object obj, Supplier<Boolean> condition, long deadlineMs) {
            throw new UnsupportedOperationException();
        }
    };

    /** What is to be done once is done at once; what is to be done again and again never. */
    private static final Scheduler AT_ONCE = new Scheduler() {
        public void startup() { }

        public void shutdown() { }

        public void resizeThreadPool(int size) { }

        public ScheduledFuture<?> schedule(String name, Runnable task, long delayMs, long periodMs) {
            if (periodMs < 0) task.run();
            return (ScheduledFuture<?>) java.lang.reflect.Proxy.newProxyInstance(Drive.class.getClassLoader(), new Class<?>[]{ScheduledFuture.class},
                (p, m, a) -> m.getReturnType() == boolean.class ? (Object) true : null);
        }
    };

    private static final BrokerTopicStats STATS = new BrokerTopicStats();
    private static final Throttler THROTTLER = new Throttler(Double.MAX_VALUE, Long.MAX_VALUE, "drive", "entries", CLOCK);

    private UnifiedLog log;
    private FetchIsolation isolation = FetchIsolation.HIGH_WATERMARK;
    private LogConfig config;
    private Optional<Long> cleaned = Optional.empty();

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Drive drive = new Drive();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String said;
            try {
                said = "ok " + drive.step(line.split(" "));
            } catch (Throwable e) {
                said = "error " + kind(e);
                if (System.getenv("DRIVE_TRACE") != null) e.printStackTrace();
            }
            out.println(said.strip() + " | " + drive.state());
            out.flush();
        }
    }

    private String state() {
        if (log == null) return "closed";
        return log.logStartOffset() + " " + log.logEndOffset() + " " + Math.max(log.logStartOffset(), log.lastStableOffset());
    }

    private static String kind(Throwable e) {
        if (e instanceof OutOfOrderSequenceException) return "OutOfOrderSequence";
        if (e instanceof InvalidProducerEpochException) return "InvalidProducerEpoch";
        if (e instanceof OffsetOutOfRangeException) return "OffsetOutOfRange";
        if (e instanceof RecordTooLargeException || e instanceof RecordBatchTooLargeException) return "TooLarge";
        if (e instanceof InvalidTimestampException || e instanceof org.apache.kafka.common.InvalidRecordException) return "InvalidRecord";
        if (e instanceof RecordValidationException v) return kind(v.invalidException());
        if (e instanceof InvalidTxnStateException) return "InvalidTransactionState";
        if (e instanceof TransactionCoordinatorFencedException) return "Fenced";
        return e.toString().replace('\n', ' ');
    }

    private String step(String[] w) throws Exception {
        switch (w[0]) {
            case "open": return open(w);
            case "close": log.close(); log = null; return "";
            case "kill": {
                long point = log.recoveryPoint();
                log.closeHandlers();
                log = null;
                return "" + point;
            }
            case "time": now = Long.parseLong(w[1]); return "";
            case "append": return append(w);
            case "marker": return marker(w);
            case "flush": log.flush(false); return "";
            case "truncate": log.truncateTo(Long.parseLong(w[1])); return raised("");
            case "startat": log.truncateFullyAndStartAt(Long.parseLong(w[1]), Optional.empty()); return raised("");
            case "delete":
                log.maybeIncrementLogStartOffset(Long.parseLong(w[1]), LogStartOffsetIncrementReason.ClientRecordDeletion);
                return raised("");
            case "retain": log.deleteOldSegments(); return raised("");
            case "at": return found(log.fetchOffsetByTimestamp(Long.parseLong(w[1]), Optional.empty()));
            case "newest": return found(log.fetchOffsetByTimestamp(ListOffsetsRequest.MAX_TIMESTAMP, Optional.empty()));
            case "earliest": return found(log.fetchOffsetByTimestamp(ListOffsetsRequest.EARLIEST_TIMESTAMP, Optional.empty()));
            case "epoch": return log.endOffsetForEpoch(Integer.parseInt(w[1])).map(e -> e.epoch() + " " + e.offset()).orElse("none");
            case "read": return read(Long.parseLong(w[1]), Integer.parseInt(w[2]));
            case "dump": return dump();
            case "isolation": isolation = FetchIsolation.valueOf(w[1]); return "";
            case "segments": return String.join(" ", log.logSegments().stream().map(s -> "" + s.baseOffset()).toList());
            case "producers": return producers();
            case "epochs": return String.join(" ", log.leaderEpochCache().epochEntries().stream().map(e -> e.epoch + "@" + e.startOffset).toList());
            case "aborted": return aborted(Long.parseLong(w[1]), Long.parseLong(w[2]));
            case "compact": return compact();
            case "shutdown": return shutdown(new File(w[1]));
            default: throw new IllegalArgumentException(w[0]);
        }
    }

    /** open DIR clean|killed LOG_START RECOVERY_POINT NAME=VALUE... */
    private String open(String[] w) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        for (int i = 5; i < w.length; i++) {
            String[] one = w[i].split("=", 2);
            settings.put(one[0].equals("segment.bytes") ? LogConfig.INTERNAL_SEGMENT_BYTES_CONFIG : one[0], one[1]);
        }
        config = new LogConfig(settings);
        File dir = new File(w[1]);
        dir.mkdirs();
        log = UnifiedLog.create(dir, config, Long.parseLong(w[3]), Long.parseLong(w[4]), AT_ONCE, STATS, CLOCK, 900000,
            new ProducerStateManagerConfig(86400000, false), 600000, new LogDirFailureChannel(4), w[2].equals("clean"), Optional.empty());
        if (w[2].equals("clean") && Long.parseLong(w[4]) == 0) cleaned = Optional.empty();
        return raised("");
    }

    private String raised(String said) throws Exception {
        log.updateHighWatermark(log.logEndOffset());
        return said;
    }

    /** append LEADER_EPOCH CODEC PRODUCER_ID PRODUCER_EPOCH SEQUENCE plain|txn TIMESTAMP:KEY:VALUE... */
    private String append(String[] w) throws Exception {
        Compression codec = Compression.of(CompressionType.forName(w[2])).build();
        MemoryRecordsBuilder b = MemoryRecords.builder(ByteBuffer.allocate(512), RecordBatch.CURRENT_MAGIC_VALUE, codec, TimestampType.CREATE_TIME,
            0, RecordBatch.NO_TIMESTAMP, Long.parseLong(w[3]), Short.parseShort(w[4]), Integer.parseInt(w[5]), w[6].equals("txn"), -1);
        for (int i = 7; i < w.length; i++) {
            String[] r = w[i].split(":");
            b.append(new SimpleRecord(Long.parseLong(r[0]), bytes(r[1]), bytes(r[2])));
        }
        return appended(log.appendAsLeader(b.build(), Integer.parseInt(w[1]), AppendOrigin.CLIENT));
    }

    /** marker LEADER_EPOCH PRODUCER_ID PRODUCER_EPOCH COMMIT|ABORT COORDINATOR_EPOCH TIMESTAMP */
    private String marker(String[] w) throws Exception {
        MemoryRecords marker = MemoryRecords.withEndTransactionMarker(Long.parseLong(w[6]), Long.parseLong(w[2]), Short.parseShort(w[3]),
            new EndTransactionMarker(ControlRecordType.valueOf(w[4]), Integer.parseInt(w[5])));
        return appended(log.appendAsLeader(marker, Integer.parseInt(w[1]), AppendOrigin.COORDINATOR));
    }

    private String appended(LogAppendInfo info) throws Exception {
        return raised(info.firstOffset() + " " + info.lastOffset());
    }

    /** `-` is null, `NAME*N` a text of N bytes. */
    private static byte[] bytes(String text) {
        if (text.equals("-")) return null;
        int star = text.indexOf('*');
        if (star < 0) return text.getBytes(StandardCharsets.UTF_8);
        String name = text.substring(0, star);
        int length = Integer.parseInt(text.substring(star + 1));
        return (name + "x".repeat(Math.max(0, length - name.length()))).getBytes(StandardCharsets.UTF_8);
    }

    private static String found(OffsetResultHolder holder) {
        Optional<FileRecords.TimestampAndOffset> found = holder.timestampAndOffsetOpt();
        return found.filter(f -> f.offset >= 0).map(f -> f.offset + " " + f.timestamp + " " + f.leaderEpoch.orElse(-1)).orElse("none");
    }

    private String read(long from, int max) throws Exception {
        List<String> records = new ArrayList<>();
        long end = log.logEndOffset();
        for (long next = from; records.isEmpty(); ) {
            long reached = take(next, max, records);
            if (reached <= next || reached >= end) break; // more may lie behind markers
            next = reached;
        }
        return String.join(" ", records);
    }

    private String dump() throws Exception {
        List<String> records = new ArrayList<>();
        for (long next = log.logStartOffset(); ; ) {
            long reached = take(next, 1 << 20, records);
            if (reached <= next) return String.join(" ", records);
            next = reached;
        }
    }

    /** What a consumer makes of one answer; the offset to go on from. */
    private long take(long from, int max, List<String> records) throws Exception {
        long next = from;
        FetchDataInfo fetched = log.read(from, max, isolation, true);
        var aborted = new java.util.PriorityQueue<FetchResponseData.AbortedTransaction>(Comparator.comparingLong(a -> a.firstOffset()));
        fetched.abortedTransactions.ifPresent(aborted::addAll);
        var gone = new java.util.HashSet<Long>();
        for (RecordBatch b : fetched.records.batches()) {
            next = b.nextOffset();
            while (!aborted.isEmpty() && aborted.peek().firstOffset() <= b.lastOffset()) gone.add(aborted.poll().producerId());
            if (b.isControlBatch()) {
                if (ControlRecordType.parse(b.iterator().next().key()) == ControlRecordType.ABORT) gone.remove(b.producerId());
            } else if (!b.isTransactional() || !gone.contains(b.producerId())) {
                for (Record r : b) if (r.offset() >= from) records.add(record(r));
            }
        }
        return next;
    }

    private static String record(Record r) {
        CRC32C crc = new CRC32C();
        byte[] value = Fmt.arr(r.value());
        if (value != null) crc.update(value);
        byte[] key = Fmt.arr(r.key());
        return r.offset() + "@" + r.timestamp() + "/" + (key == null ? "-" : new String(key, StandardCharsets.UTF_8)) + "/"
            + (value == null ? "-" : Long.toHexString(crc.getValue()));
    }

    private String producers() {
        var all = new ArrayList<>(log.activeProducers());
        all.sort(Comparator.comparingLong(p -> p.producerId()));
        return String.join(" ", all.stream().map(p -> p.producerId() + ":" + p.producerEpoch() + ":" + p.lastSequence() + ":" + p.lastTimestamp()
            + ":" + p.coordinatorEpoch() + ":" + p.currentTxnStartOffset()).toList());
    }

    private String aborted(long from, long to) {
        return String.join(" ", log.collectAbortedTransactions(from, to).stream().filter(a -> a.lastOffset() >= from).map(a -> a.producerId() + ":" + a.firstOffset()).toList());
    }

    /** Closes the log and leaves in its root what a broker leaves at a clean shutdown. */
    private String shutdown(File root) throws Exception {
        Map<String, Long> offsets = Map.of("recovery-point-offset-checkpoint", log.logEndOffset(), "log-start-offset-checkpoint", log.logStartOffset(),
            "replication-offset-checkpoint", log.logEndOffset());
        for (var one : offsets.entrySet())
            new OffsetCheckpointFile(new File(root, one.getKey()), null).write(Map.of(log.topicPartition(), one.getValue()));
        log.close();
        log = null;
        new CleanShutdownFileHandler(root.getPath()).write(0);
        return "";
    }

    private String compact() throws Exception {
        LogCleanerManager.OffsetsToClean offsets = LogCleanerManager.cleanableOffsets(log, cleaned, now);
        LogToClean wanted = new LogToClean(log, offsets.firstDirtyOffset(), offsets.firstUncleanableDirtyOffset(), false);
        if (wanted.totalBytes() == 0 || wanted.cleanableRatio() <= config.minCleanableRatio) return "";
        Cleaner cleaner = new Cleaner(0, new SkimpyOffsetMap(1 << 20), 1 << 16, 1 << 20, 0.9, THROTTLER, CLOCK, tp -> { });
        cleaned = Optional.of(cleaner.clean(wanted).getKey());
        return "";
    }
}
